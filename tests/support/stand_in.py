"""The stand-in for the production core on the path of imports, without the adapter at the end."""

import contextlib
import sys
from pathlib import Path

from runtime.adapters import core as adapter

CORE = Path(__file__).parent / "core"


def _forget():
    for name in [name for name in sys.modules if name.partition(".")[0] == "mozaiks_app"]:
        del sys.modules[name]


@contextlib.contextmanager
def importable_core(monkeypatch):
    """Make `mozaiks_app` importable, anew; at the end the adapter is uninstalled and the core is forgotten."""
    _forget()
    monkeypatch.syspath_prepend(CORE)
    yield
    adapter.uninstall()
    _forget()
