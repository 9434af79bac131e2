"""Settings files that are checked, and the places of what is found; a plugin of pytest for its fixture."""

import pytest

from runtime.cli.config_check import check
from runtime.settings.contradictions import Facts

PREFIX = "MOZAIKS_CONNECTORS_"


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """Checks a settings file in the working directory; returns what is found."""
    monkeypatch.chdir(tmp_path)

    def found(text, environ=None, **facts):
        (tmp_path / "settings.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
        return check({f"{PREFIX}FILE": "settings.toml", **(environ or {})}, Facts(**facts))

    return found


def place_of(finding):
    return ":".join([finding.path, *(str(number) for number in (finding.line, finding.column) if number)])
