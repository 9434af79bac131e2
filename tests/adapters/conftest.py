"""The stand-in for the production core, fresh for each test."""

import pytest
from stand_in import importable_core


@pytest.fixture
def core(no_settings):
    """The core on the path, and the environment to set; the adapter is not installed."""
    with importable_core(no_settings):
        yield no_settings
