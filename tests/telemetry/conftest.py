"""What tests of the telemetry set-up share."""

import os

import pytest


@pytest.fixture
def no_otel_settings(monkeypatch):
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    return monkeypatch
