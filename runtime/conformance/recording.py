"""
Responses of a real platform, recorded once and replayed in tests: their shapes, and nothing of their content.

What is written is safe by default. A text is masked unless it is a time, or one plain word of a vocabulary (the value
of a key such as `status`); so are names of keys that look like values. Masking keeps lengths, punctuation and which
texts are equal, so that ids still refer to each other. Paths, queries, bodies of requests, cookies and all headers but
four are never written.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from middleware.errors import ConfigError
from middleware.redaction import redact
from runtime.connectors.base import PlatformHttpClient
from runtime.connectors.loader import managed_connector
from runtime.connectors.operations import running_operation
from runtime.connectors.registry import Connector
from runtime.testing import Reply

__all__ = ["Exchange", "Masker", "recorded", "recording"]

_KEPT_HEADERS = ("content-type", "retry-after", "server", "x-envoy-overloaded")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?")
_WORD = re.compile(r"[A-Za-z]{1,20}(?:[_ -][A-Za-z]{1,20}){0,3}")
_VOCABULARY = {
    "status",
    "state",
    "type",
    "kind",
    "error",
    "currency",
    "mode",
    "scope",
    "period",
    "tier",
    "level",
    "role",
}
_VOCABULARY |= {"plan", "roles", "permissions", "resource", "trigger"}
_SECRET_KEY = re.compile(
    r"token|secret|password|passwd|api_?key|app_?key|credential|cookie|authorization|pin$|cvc$", re.IGNORECASE
)
_KEY = re.compile(r"[A-Za-z_$@][A-Za-z0-9_.:$@-]{0,47}")
_LONG_RUN = re.compile(r"\d{5}|[0-9a-fA-F]{8}|[A-Za-z0-9]{25}")
_MIXED = re.compile(r"[A-Za-z0-9]+")
_LARGEST = 10**6
_MOST_TEXT = 500
_LAST_WORD = re.compile(r"[A-Z]?[a-z]+$")


class Exchange(NamedTuple):
    """One recorded response, and the operation whose request it was to."""

    operation: str
    reply: Reply


def recorded(file: PathLike[str] | str) -> list[Exchange]:
    """
    Read the file of a `recording`. As a script: `[one.reply for one in …]`.

    Raises:
        ConfigError: The file cannot be read, or is not such a file.
    """
    try:
        entries = json.loads(Path(file).read_text(encoding="utf-8"))["responses"]
        return [Exchange(one["operation"], _reply(one)) for one in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"recorded: {file}: cannot be read ({type(error).__name__})"
    raise ConfigError(problem)


def _reply(entry: Mapping[str, Any]) -> Reply:
    body = entry["text"] if "text" in entry else json.dumps(entry["json"])
    return Reply(status=entry["status"], body=body.encode(), headers=entry["headers"])


@asynccontextmanager
async def recording(
    connector: Connector[Any],
    base_url: str,
    api_key: str | None = None,
    *,
    file: PathLike[str] | str,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[Any]:
    """
    Make the managed connector of a platform, record what its operations get, and write it to *file* at the end.

    Args:
        connector: The connector's declaration.
        base_url: Where the platform is.
        api_key: The application's key.
        file: Where to write; what is there is replaced.
        transport: What sends the requests; None uses httpx.
    """
    recorder = _Recorder(transport or httpx.AsyncHTTPTransport())
    async with PlatformHttpClient(base_url, api_key, service=connector.name, transport=recorder) as client:
        try:
            yield managed_connector(connector, client)
        finally:
            await recorder.aclose()
    recorder.write(Path(file))


class _Recorder(httpx.AsyncBaseTransport):
    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self._secrets: set[str] = set()
        self._responses: list[dict[str, Any]] = []
        self._masker = Masker()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request*, and record the response."""
        sent = (request.headers.get(name, "") for name in ("authorization", "x-mozaiks-app-key", "cookie"))
        self._secrets |= {value.removeprefix("Bearer ") for value in sent if value}
        response = await self._inner.handle_async_request(request)
        body = await response.aread()
        running = running_operation()
        entry: dict[str, Any] = {
            "operation": running.name if running else "",
            "status": response.status_code,
            "headers": {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers},
        }
        if body:
            try:
                entry["json"] = self._masker.document(json.loads(body))
            except ValueError:
                entry["text"] = self._masker.page(response.text[:_MOST_TEXT])
        else:
            entry["text"] = ""
        self._responses.append(entry)
        dropped = {"content-encoding", "content-length"}  # the body is decoded
        headers = [(name, value) for name, value in response.headers.items() if name not in dropped]
        return httpx.Response(response.status_code, headers=headers, content=body, extensions=response.extensions)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    def write(self, file: Path) -> None:
        """Write what was recorded."""
        text = json.dumps({"version": 1, "responses": self._responses}, indent=1, ensure_ascii=False) + "\n"
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        file.write_text(text, encoding="utf-8")


class Masker:
    """Masks documents; the same text becomes the same mask, and another text another one."""

    def __init__(self) -> None:
        self._masks: dict[str, str] = {}
        self._used: set[str] = set()

    def document(self, value: Any, key: str = "") -> Any:
        """Return *value*, JSON that is found under *key*, masked."""
        if isinstance(value, Mapping):
            return {self._key(name): self.document(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [self.document(one, key) for one in value]
        if isinstance(value, str):
            return value if self._is_plain(value, key) else self.mask(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return 0 if _SECRET_KEY.search(key) else value if abs(value) < _LARGEST else _LARGEST
        return value

    def page(self, text: str) -> str:
        """Return *text*, such as an error page of a gateway, with its tags and everything else masked."""
        parts = re.split(r"(<[/!]?\w{1,12}>)", text)
        return "".join(part if index % 2 else self._shape(part) for index, part in enumerate(parts))

    def mask(self, text: str) -> str:
        """Return the mask of *text*: of its length where that is enough to differ from others."""
        if text not in self._masks:
            found, number = self._shape(text), 1
            while found in self._used and text:
                number += 1
                found = self._shape(text)[: max(len(text) - len(str(number)), 1)] + str(number)
            self._used.add(found)
            self._masks[text] = found
        return self._masks[text]

    def _key(self, name: str) -> str:
        return name if _KEY.fullmatch(name) and not _LONG_RUN.search(name) and redact(name) == name else self.mask(name)

    @staticmethod
    def _is_plain(value: str, key: str) -> bool:
        if _TIME.fullmatch(value) or not value:
            return True
        last = _LAST_WORD.search(key)
        is_word = last is not None and last[0].lower() in _VOCABULARY and not _SECRET_KEY.search(key)
        return is_word and bool(_WORD.fullmatch(value)) and redact(value) == value

    @staticmethod
    def _shape(text: str) -> str:
        """Return *text* with letters as x and numbers as 0; a run of both is all x, as of an id."""
        return _MIXED.sub(lambda run: ("0" if run[0].isdigit() else "x") * len(run[0]), _ascii(text))


def _ascii(text: str) -> str:
    return "".join("x" if ord(one) > 126 and one.isalnum() else one for one in text)  # noqa: PLR2004 - beyond ASCII
