"""The stand-in for the production core, fresh for each test."""

import sys
from pathlib import Path

import pytest

from runtime.adapters import core as adapter

STAND_IN = Path(__file__).parents[1] / "support" / "core"


def forget():
    for name in [name for name in sys.modules if name.partition(".")[0] == "mozaiks_app"]:
        del sys.modules[name]


@pytest.fixture
def core(no_settings):
    """The core on the path, and the environment to set; the adapter is not installed."""
    forget()
    no_settings.syspath_prepend(STAND_IN)
    yield no_settings
    adapter.uninstall()
    forget()
