"""Where this package was installed from, and so by which command more of it is installed. Standard library alone."""

import json
import shlex
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["NAME", "install_command", "installed_from", "project_directory"]

NAME = "mozaiks-connector-runtime"


def project_directory() -> Path | None:
    """Directory of our pyproject.toml; None for an installed package."""
    directory = Path(__file__).resolve().parents[2]
    try:
        document = tomllib.loads((directory / "pyproject.toml").read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return None
    return directory if document.get("project", {}).get("name") == NAME else None


def install_command(*extras: str) -> str:
    """Return the command that adds *extras* to this installation: from its checkout, its URL, or the index."""
    wanted = f"[{','.join(extras)}]" if extras else ""
    if (project := project_directory()) is not None:
        place = "." if project == _here() else str(project)
        return f"pip install -e {shlex.quote(place + wanted)}"
    found = _distribution()
    pip = "uv pip" if found is not None and (found.read_text("INSTALLER") or "").strip() == "uv" else "pip"
    url = _direct_url(found)
    return f"{pip} install '{NAME}{wanted}{f' @ {url}' if url else ''}'"


def installed_from() -> str:
    """Say where this installation comes from."""
    if (project := project_directory()) is not None:
        return f"checkout {project}"
    found = _distribution()
    return _direct_url(found) or ("package index" if found is not None else f"files in {Path(__file__).parents[2]}")


def _here() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was removed
        return None


def _distribution() -> Distribution | None:
    try:
        return distribution(NAME)
    except PackageNotFoundError:
        return None


def _direct_url(found: Distribution | None) -> str:
    """Return the URL that was installed, as a requirement spells it; empty for one of an index."""
    # Source: https://packaging.python.org/en/latest/specifications/direct-url/
    try:
        document: Any = json.loads((found and found.read_text("direct_url.json")) or "{}")
        parts = urlsplit(document.get("url", ""))
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # without credentials
        vcs = document.get("vcs_info")
        return url if vcs is None else f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    except (ValueError, KeyError, TypeError, AttributeError):  # another installer wrote something else
        return ""
