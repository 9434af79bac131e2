"""The stand-in for the production core, fresh for each test, or imported once for a file."""

import pytest
from stand_in import importable_core

from runtime.adapters import core as adapter


@pytest.fixture
def core(no_settings):
    """The core on the path, and the environment to set; the adapter is not installed."""
    with importable_core(no_settings):
        yield no_settings


@pytest.fixture(scope="module")
def _core_of_the_file():
    with pytest.MonkeyPatch.context() as patch, importable_core(patch):
        yield


@pytest.fixture
def shared_core(_core_of_the_file, no_settings):
    """As `core`, for tests that only install and call: the core's models are made once, and not once per test."""
    yield no_settings
    adapter.uninstall()
