"""What tests of several commands share."""

import shutil

import pytest


@pytest.fixture
def venv(tmp_path, monkeypatch):
    """A folder for an environment, with a blank in its path, on a machine without uv."""
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    place = tmp_path / "some where" / ".venv"
    place.mkdir(parents=True)
    return place
