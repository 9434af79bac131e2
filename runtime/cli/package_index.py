"""
The package index that the bootstrap installs from: which one the user has configured, and how it is asked.

Read as pip reads it: `PIP_INDEX_URL`, then pip's configuration files. Its credentials go to it alone, and into no text.
Standard library alone.
"""

import base64
import configparser
import ipaddress
import os
import re
import sys
import tomllib
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

__all__ = [
    "PackageIndexError",
    "check_index",
    "fetch",
    "index_url",
    "mask_credentials",
    "uv_variables",
    "without_controls",
]

_DEFAULT = "https://pypi.org/simple"
_CREDENTIALS = re.compile(r"(?<=://)[^\s/@]*+(?:@[^\s/@]*+)*@")
_NAME = re.compile(r"\A[\w.-]+=")
_UV_FILE_OPTIONS = ("index", "index-url", "extra-index-url", "find-links")
_UV_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")


class PackageIndexError(ValueError):
    """The index cannot be used; the text has no credentials."""


def index_url(environ: Mapping[str, str]) -> str:
    """Return the URL of the index that pip would install from."""
    return (environ.get("PIP_INDEX_URL") or _from_files(environ, "index-url") or _DEFAULT).strip().rstrip("/")


def check_index(environ: Mapping[str, str]) -> None:
    """
    Reject an index that is asked in plain text, but for one of loopback.

    Raises:
        PackageIndexError: Any of the indexes, or places of files, that variables and configuration files of pip and uv
            name, or it is no URL; the text has no credentials.
    """
    extra = environ.get("PIP_EXTRA_INDEX_URL") or _from_files(environ, "extra-index-url")
    places = environ.get("PIP_FIND_LINKS") or _from_files(environ, "find-links")
    for url in [
        index_url(environ),
        *extra.split(),
        *places.split(),
        *(part for name in _UV_INDEX for part in environ.get(name, "").split()),
        *re.split(r"[\s,]+", environ.get("UV_FIND_LINKS", "")),
        *_of_uv_files(environ),
    ]:
        _check_url(_NAME.sub("", url))  # uv's may begin with a name


def _check_url(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:  # its text may contain the credentials
        raise PackageIndexError(
            "the URL of a package index cannot be read: are its credentials percent-encoded?"
        ) from None
    if parts.scheme == "http" and not _is_loopback(host):
        raise PackageIndexError(
            f"{mask_credentials(url)}: what it responds with can be changed on the way: use https://"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def mask_credentials(text: str) -> str:
    """Return *text*, as an installer writes it, without the credentials in its URLs."""
    return _CREDENTIALS.sub("***@", text)


def without_controls(text: str) -> str:
    """
    Return *text* fit for a terminal: U+FFFD in place of each character that is not printed.

    The index may have written it; the filter of `middleware`, which is for all other texts, needs an environment.
    """
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def uv_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which uv asks the same index as pip, unless one of its own names another."""
    if any(environ.get(name) for name in _UV_INDEX) or (url := index_url(environ)) == _DEFAULT:
        return {}
    return {"UV_DEFAULT_INDEX": url}


def fetch(url: str, index: str, *, timeout_s: float) -> bytes:
    """
    Return what is at *url*; the credentials of *index* are sent to its own origin alone.

    Raises:
        OSError: There is no response, or it is an error.
        PackageIndexError: The URL, or the one that it redirects to, is asked in plain text.
    """
    _check_url(url)
    request = urllib.request.Request(_bare(url))  # noqa: S310 - the user's own index
    if _origin(url) == _origin(index) and "@" in (userinfo := urllib.parse.urlsplit(index).netloc):
        pair = urllib.parse.unquote(userinfo.rpartition("@")[0])
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310 - as above
        _check_url(response.geturl())
        content: bytes = response.read()
    return content


def _bare(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _from_files(environ: Mapping[str, str], option: str) -> str:
    """Return *option* of pip's configuration files, the last one of which wins; empty where none has it."""
    found = configparser.RawConfigParser(strict=False)
    found.optionxform = _option  # type: ignore[method-assign,assignment] # as the standard library documents it
    for path in _files(environ):
        try:
            found.read(path, "utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue  # pip says what is wrong with it
    return next((found[section][option] for section in ("install", "global") if found.has_option(section, option)), "")


def _of_uv_files(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the indexes and places of files in uv's own configuration; what cannot be read is for uv to say."""
    # Source: https://docs.astral.sh/uv/concepts/configuration-files/
    home = Path(environ.get("HOME") or "/")
    own = [Path(environ["UV_CONFIG_FILE"])] if environ.get("UV_CONFIG_FILE") else []
    for path in (
        Path("/etc/uv/uv.toml"),
        Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "uv" / "uv.toml",
        *own,
    ):
        with suppress(OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            found = tomllib.loads(path.read_text("utf-8"))
            for section in (found, found.get("pip")):
                if isinstance(section, dict):
                    yield from _urls_in([section.get(name) for name in _UV_FILE_OPTIONS])


def _urls_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):  # an entry of `index`
        yield from _urls_in(value.get("url"))
    elif isinstance(value, list):
        for one in value:
            yield from _urls_in(one)


def _option(name: str) -> str:
    """Return *name* as pip reads it: `index_url` and `--index-url` are `index-url`."""
    return name.lower().replace("_", "-").removeprefix("--")


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    # Source: https://pip.pypa.io/en/stable/topics/configuration/
    own = environ.get("PIP_CONFIG_FILE", "")
    if own == os.devnull:
        return
    home = Path(environ.get("HOME") or "/")
    for directory in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")[::-1]:
        yield Path(directory) / "pip" / "pip.conf"
    yield Path("/etc/pip.conf")
    yield home / ".pip" / "pip.conf"
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    yield Path(sys.prefix) / "pip.conf"
    if own:
        yield Path(own)
