"""
Where spans are read from: trace files, plain or gzipped, directories of them, and Jaeger's `/api/v3`.

Each is OTLP JSON, read by `SpanReader`, a line at a time: a file may be larger than memory.

Sources: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding,
https://www.jaegertracing.io/docs/latest/architecture/apis/.
"""

import gzip
import http.client
import json
import re
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Self

from .trace_file import Span, SpanReader

__all__ = ["JAEGER_TRACES", "Source", "is_url"]

JAEGER_TRACES = 1500
"""Traces that are asked of Jaeger per program: its search has no pages, and a depth is a request, no promise."""
_JAEGER_SPAN_S = 3600.0
_TIMEOUT_S = 30.0
_START = re.compile(rb'"startTimeUnixNano" ?: ?"?(\d{16,19})\b')
_GZIP = b"\x1f\x8b"
_SUFFIXES = (".jsonl", ".json", ".ndjson", ".otlp")
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
_TRACE_ID_DIGITS = 32


def is_url(name: str) -> bool:
    """Is *name* the address of a Jaeger, not the name of a file?"""
    return name.startswith(("http://", "https://"))


class Source:
    """
    Spans of several files, directories and Jaegers, in the order in which they are named.

    Can be read more than once: what is not a regular file, a pipe, say, is copied to a temporary one first, which
    `close`, or the end of the `with` block, removes.

    Args:
        names: Paths, or addresses of Jaegers: `http://localhost:16686`.
        since_ns: Of a Jaeger, the earliest start to ask for; an hour ago without.
        until_ns: The latest one; now without.
        trace_id: Of a Jaeger, the one trace to ask for, where all 32 digits are known.
        progress: Called with the bytes read so far, and their number in all where it is known, else 0.

    Attributes:
        reader: What was read, and what of it could not be.
        notes: What the reader of the result must know, such as that a Jaeger may have more traces.
    """

    def __init__(
        self,
        names: Sequence[str | Path],
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        trace_id: str = "",
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        self.since_ns = since_ns
        self.until_ns = until_ns
        self.trace_id = trace_id if len(trace_id) == _TRACE_ID_DIGITS and set(trace_id) <= _HEXADECIMAL else ""
        self.reader = SpanReader()
        self.notes: list[str] = []
        self._progress = progress
        self._places: list[Path | str] = []
        self._copies: dict[Path, IO[bytes]] = {}
        for name in names:
            if is_url(str(name)):
                self._places.append(str(name))
            else:
                self._places += _files(Path(name))
        self.paths = [place for place in self._places if isinstance(place, Path)]

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Remove what was copied."""
        while self._copies:
            self._copies.popitem()[1].close()

    def spans(self) -> Iterator[Span]:
        """
        Yield every span, from the first line.

        Raises:
            OSError: A file cannot be read, or a Jaeger does not respond.
        """
        self.reader = SpanReader()
        self.notes = []
        total = sum(path.stat().st_size for path in self.paths)
        done = 0
        for place in self._places:
            if isinstance(place, str):
                for body in self._ask_jaeger(place):
                    yield from self.reader.read(body)
                continue
            with self._opened(place) as (raw, lines):
                for line in lines:
                    yield from self.reader.read_line(line)
                    self._progress(done + raw.tell(), total)
                done += raw.tell()

    def starts(self) -> Iterator[int]:
        """Yield the start of every span of the files, in nanoseconds since 1970, much faster than the spans."""
        for path in self.paths:
            with self._opened(path) as (_, lines):
                for line in lines:
                    yield from map(int, _START.findall(line))

    @contextmanager
    def _opened(self, path: Path) -> Iterator[tuple[IO[bytes], Iterator[bytes]]]:
        with self._raw(path) as raw:
            zipped = raw.read(2) == _GZIP
            raw.seek(0)
            yield raw, _unzipped(raw, path) if zipped else iter(raw)

    @contextmanager
    def _raw(self, path: Path) -> Iterator[IO[bytes]]:
        if path.is_file():
            with path.open("rb") as file:
                yield file
            return
        if path not in self._copies:
            with path.open("rb") as pipe:
                copy = self._copies[path] = tempfile.TemporaryFile()  # noqa: SIM115 - read again by the next pass
                while block := pipe.read(1 << 20):
                    copy.write(block)
        self._copies[path].seek(0)
        yield self._copies[path]

    def _ask_jaeger(self, url: str) -> Iterator[list[bytes]]:
        if self.trace_id:
            with suppress(FileNotFoundError):
                yield _documents(_get(url, f"/api/v3/traces/{self.trace_id}"))
            return
        until_ns = self.until_ns or time.time_ns()
        since_ns = self.since_ns or until_ns - int(_JAEGER_SPAN_S * 1e9)
        for program in _programs(url):
            values = {
                "service_name": program,
                "start_time_min": _rfc3339(since_ns),
                "start_time_max": _rfc3339(until_ns),
            }
            parameters = {f"query.{name}": value for name, value in values.items()}
            # Since 2.19 names are in camelCase, and the depth has another name too. Each version ignores the others'.
            parameters |= {f"query.{_camel(name)}": value for name, value in values.items()}
            parameters |= dict.fromkeys(("query.num_traces", "query.searchDepth"), str(JAEGER_TRACES))
            try:
                lines = _documents(_get(url, "/api/v3/traces", parameters))
            except FileNotFoundError:  # none in this time
                continue
            found = {span.trace_id for span in SpanReader().read(lines)}
            if len(found) >= JAEGER_TRACES:
                self.notes.append(
                    f"{url} has more traces of {program} than the {len(found)} that were read; narrow --since"
                )
            yield lines


def _files(path: Path) -> list[Path]:
    """Return *path*, or the trace files in the directory that it is, by name."""
    if not path.is_dir():
        return [path]
    found = sorted(
        file for file in path.iterdir() if file.is_file() and file.name.removesuffix(".gz").endswith(_SUFFIXES)
    )
    if not found:
        raise FileNotFoundError(
            2, f"no trace file in it ({', '.join('*' + one for one in _SUFFIXES)}, or .gz)", str(path)
        )
    return found


def _unzipped(raw: IO[bytes], path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(raw) as lines:
            yield from lines
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise OSError(5, f"cannot be unzipped further: {error}", str(path)) from None


def _programs(url: str) -> list[str]:
    try:
        return [str(name) for name in json.loads(_get(url, "/api/v3/services"))["services"] or ()]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise OSError(5, "does not respond as a Jaeger does to /api/v3/services", url) from None


def _get(url: str, path: str, parameters: dict[str, str] | None = None) -> bytes:
    whole = url.rstrip("/") + path + (f"?{urllib.parse.urlencode(parameters)}" if parameters else "")
    try:
        with urllib.request.urlopen(whole, timeout=_TIMEOUT_S) as response:  # noqa: S310 - http and https alone
            body: bytes = response.read()
            return body
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.NOT_FOUND:
                raise FileNotFoundError(2, "no such trace", url) from None
            raise OSError(5, f"responds with status {error.code}{_reason(error.read())}", url) from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
        raise OSError(5, f"does not respond: {getattr(error, 'reason', error)}", url) from None


def _reason(body: bytes) -> str:
    with suppress(ValueError, KeyError, TypeError):
        return f": {str(json.loads(body)['error']['message'])[:200]}"
    return ""


def _documents(body: bytes) -> list[bytes]:
    """Return the documents of a streamed response, one line each; inside of a JSON text the quotes would be escaped."""
    return body.replace(b'}{"result":', b'}\n{"result":').splitlines()


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _rfc3339(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
