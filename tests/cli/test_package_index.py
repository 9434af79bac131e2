"""The package index that an installer would ask: which one, whether it may be asked, and what is shown of it."""

import os
import subprocess

import pytest
from played_installer import Runner

from runtime.cli import bootstrap
from runtime.cli.bootstrap import BootstrapError
from runtime.cli.package_index import PackageIndexError, check_index, fetch, index_url, mask_credentials, uv_variables


def test_no_credentials_of_an_index_are_in_a_message(venv):
    """Whatever the installer says, also beyond the part that is shown."""

    def failing(command):
        raise subprocess.CalledProcessError(
            1, command, stderr=b"x" * 190 + b" https://me:s3c@ret@index.test/simple/a not found"
        )

    with pytest.raises(BootstrapError) as caught:
        bootstrap._install(venv, ["a>=1"], failing)
    assert "s3c" not in str(caught.value)
    assert "me" not in mask_credentials("https://me:s3c@ret@index.test/x").replace("index", "")


def test_what_the_index_says_controls_no_terminal(venv):
    """An installer shows names and reasons that the index has sent."""

    def failing(command):
        raise subprocess.CalledProcessError(1, command, stderr=b"no a: \x1b[2J\x07 \xe2\x80\xae yanked \xff")

    with pytest.raises(BootstrapError) as caught:
        bootstrap._install(venv, ["a>=1"], failing)
    assert "no a: \ufffd[2J\ufffd \ufffd yanked \ufffd" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("environ", "refused"),
    [
        ({"PIP_INDEX_URL": "http://me:s3cret@index.test/simple"}, "http://***@index.test/simple: "),
        ({"PIP_EXTRA_INDEX_URL": "https://a.test http://b.test"}, "http://b.test: "),
        ({"UV_INDEX": "own=http://b.test"}, "http://b.test: "),
        ({"PIP_FIND_LINKS": "/wheels http://b.test/files"}, "http://b.test/files: "),
        ({"UV_FIND_LINKS": "wheels,http://b.test/files"}, "http://b.test/files: "),
        ({"PIP_FIND_LINKS": "/wheels"}, ""),
        ({"UV_INDEX": "my.own=HTTP://me:s3cret=@b.test"}, "HTTP://***@b.test: "),
        ({"PIP_INDEX_URL": "https://me:s3/cret@index.test/simple"}, "the URL of a package index cannot be read: "),
        ({"PIP_INDEX_URL": "https://me:s3cret@ho\u2100st.test/simple"}, "the URL of a package index cannot be read: "),
        ({"PIP_INDEX_URL": "http://127.0.0.1:3141/simple"}, ""),
        ({"PIP_INDEX_URL": "http://localhost/simple"}, ""),
        ({"PIP_INDEX_URL": "https://me:s3cret@index.test/simple"}, ""),
    ],
)
def test_an_index_in_plain_text_is_refused(venv, monkeypatch, environ, refused):
    """Before anything is run; but for one of loopback."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    run = Runner(venv)
    if refused:
        with pytest.raises(BootstrapError) as caught:
            bootstrap._install(venv, ["a>=1"], run)
        assert str(caught.value).startswith(f"cannot set up {venv}: {refused}")
        assert "cret" not in str(caught.value)
        assert run.commands == []
    else:
        bootstrap._install(venv, ["a>=1"], run)


@pytest.mark.parametrize("option", ["index_url", "--index-url", "Extra_Index-URL"])
def test_options_of_pips_files_have_the_spellings_that_pip_reads(tmp_path, option):
    """Else an index in plain text would be asked."""
    (tmp_path / "pip.conf").write_text(f"[global]\n{option} = http://index.test/simple\n")
    with pytest.raises(PackageIndexError, match=r"http://index\.test/simple"):
        check_index({"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "HOME": str(tmp_path)})


@pytest.mark.parametrize(
    "text",
    [
        'index-url = "http://index.test/simple"',
        '[[index]]\nname = "own"\nurl = "http://index.test/simple"',
        'extra-index-url = ["https://a.test", "http://index.test/simple"]',
        '[pip]\nfind-links = ["wheels", "http://index.test/simple"]',
    ],
    ids=["one", "named", "extra", "files"],
)
@pytest.mark.parametrize("place", ["XDG_CONFIG_HOME", "UV_CONFIG_FILE"])
def test_an_index_of_uvs_files_is_checked_too(tmp_path, text, place):
    """Which uv asks without a word of pip's configuration."""
    file = tmp_path / "uv" / "uv.toml"
    file.parent.mkdir()
    file.write_text(text)
    value = file if place == "UV_CONFIG_FILE" else tmp_path
    with pytest.raises(PackageIndexError, match=r"http://index\.test/simple"):
        check_index({"HOME": str(tmp_path / "home"), "PIP_CONFIG_FILE": os.devnull, place: str(value)})


def test_the_index_is_the_one_of_pips_files(tmp_path, monkeypatch):
    """For uv and for the download of pip too; the variable wins, and what is sent to the index has its credentials."""
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://me:p%40ss@index.test:8443/simple/\nuser = true\n")
    environ = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "HOME": str(tmp_path)}
    url = "https://me:p%40ss@index.test:8443/simple"
    assert index_url(environ) == url
    assert uv_variables(environ) == {"UV_DEFAULT_INDEX": url}
    assert uv_variables(environ | {"UV_INDEX_URL": "https://other.test"}) == {}
    assert index_url(environ | {"PIP_INDEX_URL": "https://b.test/"}) == "https://b.test"
    assert uv_variables({"PIP_CONFIG_FILE": "/dev/null"}) == {}
    asked = []

    def opened(request, timeout):
        asked.append((request.full_url, request.get_header("Authorization")))
        raise OSError("seen")

    monkeypatch.setattr("urllib.request.urlopen", opened)
    for address in (f"{url}/pip/", "https://index.test:8443/files/pip.whl", "https://files.test/pip.whl"):
        with pytest.raises(OSError, match="seen"):
            fetch(address, url, timeout_s=1)
    assert asked == [
        ("https://index.test:8443/simple/pip/", "Basic bWU6cEBzcw=="),
        ("https://index.test:8443/files/pip.whl", "Basic bWU6cEBzcw=="),
        ("https://files.test/pip.whl", None),
    ]
    with pytest.raises(PackageIndexError):
        fetch("http://files.test/pip.whl", url, timeout_s=1)
