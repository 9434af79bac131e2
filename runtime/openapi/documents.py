"""Loads a document from a file or the URL of a running service; JSON or YAML, with or without a byte order mark."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["Document", "DocumentError", "load", "parse", "plain"]

_TIMEOUT_S = 30.0
_MOST_BYTES = 64 * 1024 * 1024
_URL = re.compile(r"https?://", re.IGNORECASE)
# Of RFC 8259 UTF-8 alone is JSON; PowerShell's `>` writes UTF-16.
_ENCODINGS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"", "utf-8-sig"))


class DocumentError(ValueError):
    """
    A document that cannot be read.

    The text has U+FFFD in place of each character that is not printed: a part of it is the document's own.

    Attributes:
        place: JSON pointer, or the source.
        reason: What is wrong there.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(plain(f"{place}: {reason}"))
        self.place = place
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Document:
    """
    A parsed document.

    Attributes:
        source: Where it comes from, for people; without the credentials and the query of a URL.
        root: The parsed document.
    """

    source: str
    root: Mapping[str, Any]

    def at(self, pointer: str) -> Any:
        """
        Return what is at a JSON pointer (RFC 6901), also as the fragment of a reference: `#/components/…`.

        Raises:
            KeyError: Nothing is there.
        """
        found: Any = self.root
        for part in pointer.removeprefix("#").split("/")[1:]:
            found = _step(found, unquote(part).replace("~1", "/").replace("~0", "~"), pointer)
        return found


def plain(text: str) -> str:
    """Return a text of a document without characters that steer a terminal or end a line."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _step(value: Any, key: str, pointer: str) -> Any:
    if isinstance(value, Mapping) and key in value:
        return value[key]
    if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    raise KeyError(pointer)


def load(source: str | Path) -> Document:
    """
    Load a document from a file, or from an http(s) URL.

    Raises:
        DocumentError: It cannot be read, or is no OpenAPI document.
    """
    if isinstance(source, str) and _URL.match(source):
        return parse(_fetched(source), _shown(source))
    path = Path(source)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DocumentError(str(source), f"cannot be read: {error.strerror}") from None
    return parse(content, str(source))


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _fetched(url: str) -> bytes:
    try:
        place = _shown(url)
        request = urllib.request.Request(  # noqa: S310 - `load` passes http and https alone
            url, headers={"Accept": "application/json, application/yaml;q=0.9, */*;q=0.1"}
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 - as above
            content: bytes = response.read(_MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise DocumentError(place, f"the server responded {error.code}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DocumentError(url.split("?", maxsplit=1)[0].rpartition("@")[2], f"cannot be loaded ({reason})") from None
    if len(content) > _MOST_BYTES:
        raise DocumentError(place, f"is larger than {_MOST_BYTES} bytes")
    return content


def parse(content: bytes, source: str) -> Document:
    """
    Parse the bytes of a document.

    Raises:
        DocumentError: It is neither JSON nor YAML, or no OpenAPI document.
    """
    encoding = next(name for mark, name in _ENCODINGS if content.startswith(mark))
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise DocumentError(source, "is not UTF-8") from None
    try:
        root = json.loads(text)
    except RecursionError:
        raise DocumentError(source, "is nested too deeply") from None
    except ValueError as error:
        root = _yaml(text, source, error)
    if not isinstance(root, Mapping):
        raise DocumentError(source, f"must be an object, got {type(root).__name__}")
    if not isinstance(root.get("openapi", root.get("swagger")), str | float):
        raise DocumentError(source, "is no OpenAPI document: it has neither `openapi` nor `swagger`")
    return Document(source, root)


def _yaml(text: str, source: str, problem: ValueError) -> Any:
    if text.lstrip().startswith(("{", "[", "<")) or not text.strip():
        raise DocumentError(source, f"is not JSON: {problem}") from None
    yaml: Any = import_module("yaml")  # an extra, which a document in JSON does not need
    try:
        # JSON's types alone: a time or a `no` in a document is the text that it looks like.
        return yaml.load(text, Loader=_json_loader(yaml))
    except (yaml.YAMLError, RecursionError) as error:
        reason = str(error).replace("\n", " ")
    raise DocumentError(source, f"is neither JSON nor YAML: {reason}") from None


def _json_loader(yaml: Any) -> Any:
    """Return a safe loader of JSON's types: `yes` and a time are texts, and so is each key, a status for example."""
    kept = {}
    for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items():
        kept[first] = [row for row in rows if row[0] not in {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool"}]

    def mapping(loader: Any, node: Any, deep: bool = False) -> dict[str, Any]:
        found = yaml.SafeLoader.construct_mapping(loader, node, deep=deep)
        return {str(key): value for key, value in found.items()}

    members = {"yaml_implicit_resolvers": kept, "construct_mapping": mapping}
    made: Any = type("JsonLoader", (yaml.SafeLoader,), members)
    made.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), ["t", "f"])
    return made
