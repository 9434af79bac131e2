"""The command that installs more: from where this package was installed."""

import json
from types import SimpleNamespace

import pytest

from runtime._internal import installation


def installed(monkeypatch, installer="pip", direct_url=None):
    """Pretend that the package was installed by *installer*."""
    files = {"INSTALLER": f"{installer}\n", "direct_url.json": direct_url}
    monkeypatch.setattr(installation, "project_directory", lambda: None)
    monkeypatch.setattr(installation, "_distribution", lambda: SimpleNamespace(read_text=files.get))


def test_a_checkout_is_installed_from_itself(monkeypatch, tmp_path):
    """By its place; in it, by a dot."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    monkeypatch.setattr(installation, "project_directory", lambda: folder)
    assert installation.install_command("otel", "cli") == f"pip install -e '{folder}[otel,cli]'"
    assert installation.installed_from() == f"checkout {folder}"
    monkeypatch.chdir(folder)
    assert installation.install_command("otel") == "pip install -e '.[otel]'"
    assert installation.install_command() == "pip install -e ."


@pytest.mark.parametrize(
    ("installer", "command"), [("pip", "pip install"), ("uv", "uv pip install"), ("poetry", "pip install")]
)
def test_a_package_of_an_index_is_installed_from_it(monkeypatch, installer, command):
    """By its name, with the installer that installed it where it has the same words."""
    installed(monkeypatch, installer)
    assert installation.install_command("otel") == f"{command} 'mozaiks-connector-runtime[otel]'"
    assert installation.installed_from() == "package index"


@pytest.mark.parametrize(
    ("document", "url"),
    [
        ({"url": "file:///a/dist.whl", "archive_info": {}}, "file:///a/dist.whl"),
        (
            {"url": "https://ada:secret@git.test/r.git", "vcs_info": {"vcs": "git", "commit_id": "abc1"}},
            "git+https://git.test/r.git@abc1",
        ),
    ],
    ids=["a file", "a repository"],
)
def test_a_package_of_a_url_is_installed_from_it(monkeypatch, document, url):
    """PEP 610; without a password."""
    installed(monkeypatch, direct_url=json.dumps(document))
    assert installation.install_command("otel") == f"pip install 'mozaiks-connector-runtime[otel] @ {url}'"
    assert installation.installed_from() == url


@pytest.mark.parametrize("text", ["[]", "no json", '{"url": 7}', '{"url": "u", "vcs_info": {}}'])
def test_a_record_of_another_form_is_no_record(monkeypatch, text):
    """The name is what is left."""
    installed(monkeypatch, direct_url=text)
    assert installation.install_command("otel") == "pip install 'mozaiks-connector-runtime[otel]'"


def test_without_metadata_the_name_is_all_there_is(monkeypatch):
    """Copied files."""
    monkeypatch.setattr(installation, "project_directory", lambda: None)
    monkeypatch.setattr(installation, "_distribution", lambda: None)
    assert installation.install_command("otel") == "pip install 'mozaiks-connector-runtime[otel]'"
    assert installation.installed_from().startswith("files in ")
