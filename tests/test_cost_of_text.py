"""
What text from outside costs: in proportion to its length at most, whatever it contains.

Such text is read on the event loop, and its author may mean harm: a pattern that starts again at every character, or a
text that grows by copies, keeps all other calls of the process waiting. Read here is every text that others choose: an
error's message, code, field names and places, media type, headers, Retry-After and Date, targets, ids, credentials,
settings and trace files. (A reason phrase is never read.)

A regular expression counts no steps, so the cost is measured, as a ratio alone: nothing is said about speed. It is CPU
time of this thread, without garbage collection. Twice the text may cost 2.5 times as much; in proportion is 2, quadratic
is 4. Each run measures the text, twice the text and the text again, so that a machine whose speed changes slows all
three, and the median of all runs counts, of three at least: two that agree decide it. Where it is too large the runs go
on: a disturbance ends, and what is quadratic stays so. How much text is looked at is counted, in `test_problem.py`.
"""

import functools
import gc
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any, NamedTuple

import pytest
from layer_support import a_request

from middleware.echoes import redactor_of
from middleware.errors import PlatformError
from middleware.problem import parse_problem
from middleware.redaction import Redactor, redact, redact_target
from middleware.request.auth import check_api_key
from middleware.request.correlation import choose_correlation_id
from middleware.request.decode import parse_json
from middleware.request.encode import encode_target
from middleware.request.header_values import is_token
from middleware.retry_after import parse_retry_after
from middleware.transports.response_reader import check_headers, read_body
from middleware.transports.transport_settings import TransportSettings
from middleware.types import PlatformResponse
from runtime.connectors.base import check_base_url
from runtime.connectors.decoding import decoder
from runtime.settings import PREFIX, ResolvedSettings
from runtime.settings.sources import _lines_of
from runtime.traces.trace_file import read_line

pytestmark = pytest.mark.torture

MOST = 2.5
RUNS, MOST_RUNS = 3, 31
NEGLIGIBLE_S = 0.0003  # at the limit: below it a clock measures itself

ATOMS = (
    *"a0=.- _/@:%+'\"\\{[]&,\0é字\u2003",
    *("eyJ", "eyJaaaaa", "eyJaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "eyJaaaaa.", "a.", "-_", "a-"),
    *("bearer ", "bearer", "Bearer a", "basic ", "basic aaaaaa ", "basic basic"),
    *("moz_live_", "sk_", "sk_a", "sk_a_live_", "sk_a-sk_", "mps_abcdef.", "mpc_abcde "),
    *("://", "://a", "://a@", "http://u:p", "cookie", "cookie:", 'cookie "', "authorization :"),
    *("token", "token=", "token :", 'token":"', "api_key=x&", "aToken=", 'secret:"token: ', '\\"token\\":\\"', "key="),
    *("a@", "@a", "a@b.", "a@b.c", "a@b.cc+", "a@b.-", "%41", "%2F", "%40", "/@", "/%", "/a@b.cc", "../", "{a}", "{a"),
    *("a: b\n", "[a]\n", "[[", "[[a", "a = 1\n", "Fri, ", "1:", "GMT ", "+0", '{"a":', "\r\n", "; "),
)


PLAIN = ("a", "0", " ", ",", ":", ";", "=", "%41", "é", "Fri, ", "+0", "/", '{"a":', "[[")
"""For what has no pattern that could start anywhere."""


class Reader(NamedTuple):
    """
    Something that reads a text of others.

    Attributes:
        name: What the text is.
        limit: Characters up to which it is read, or of which it is at most.
        prepare: Makes the call to measure, with the text where it comes from.
        atoms: What to repeat.
    """

    name: str
    limit: int
    prepare: Callable[[str], Callable[[], object]]
    atoms: tuple[str, ...] = PLAIN


@dataclass
class Timed:
    """A document with a time."""

    at: datetime


def _given(read: Callable[[str], object]) -> Callable[[str], Callable[[], object]]:
    return lambda text: lambda: read(text)


def _body(document: Callable[[str], Any]) -> Callable[[str], Callable[[], object]]:
    def prepare(text: str) -> Callable[[], object]:
        body = json.dumps(document(text)).encode()
        return lambda: parse_problem(body, "application/json")

    return prepare


@functools.lru_cache(maxsize=1)
def _redactor(beginning: str) -> Redactor:
    """Knows values that begin as a text does, in many lengths."""
    request = a_request()
    request.json_body = [beginning[:size] + "x" for size in range(8, 999, 3)] + [beginning] * 9
    redactor = redactor_of(request, budget=float("inf"))
    redactor.redact("the first text finds the values")
    return redactor


def _echoed(text: str) -> Callable[[], object]:
    redactor = _redactor(text[:999])
    return lambda: redactor.redact(text)


def _headers(text: str) -> Callable[[], object]:
    """Many headers of one name."""
    value = text.encode("latin-1", "replace")
    raw = [(b"a", value[at : at + 4]) for at in range(0, len(value), 4)]
    return lambda: check_headers(a_request(), raw, TransportSettings())


def _names(text: str) -> Callable[[], object]:
    raw = [(b"%d" % at + text[at : at + 16].encode("latin-1", "replace"), b"") for at in range(0, len(text), 16)]
    return lambda: check_headers(a_request(), raw, TransportSettings())


async def _no_pieces() -> AsyncIterator[bytes]:
    return
    yield b""


def _encoding(text: str) -> None:
    with suppress(StopIteration):
        read_body(_no_pieces(), {"content-encoding": text}, TransportSettings()).send(None)


def _media_type(text: str) -> None:
    parse_json(PlatformResponse(status=200, headers={"content-type": text}, body=b"x", correlation_id=""))


def _trace_line(text: str) -> Callable[[], object]:
    span = {"startTimeUnixNano": 1, "endTimeUnixNano": 1, "traceId": "a" * 32, "spanId": "a" * 16, "name": text}
    line = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    return lambda: read_line(line)


_time = decoder(Timed)
READERS = (
    Reader("message", 6_000, _given(redact), ATOMS),
    Reader("message with echoes", 6_000, _given(lambda text: redact(text, text[:999], "a" * 99, "a=b")), ATOMS),
    Reader("message with what the request carried", 6_000, _echoed, ATOMS),
    Reader("short text", 800, _given(lambda text: redact(text, limit=40)), ATOMS),
    Reader("target", 8_192, _given(lambda text: redact_target("/" + text)), ATOMS),
    Reader("code and message", 5_000, _body(lambda text: {"error": {"code": text, "message": text}}), ATOMS),
    Reader("field", 5_000, _body(lambda text: {"errors": {text: [text]}}), ATOMS),
    Reader(
        "fields",
        30_000,
        _body(lambda text: {"errors": {str(at): text[at : at + 600] for at in range(0, len(text), 600)}}),
    ),
    Reader(
        "messages", 60_000, _body(lambda text: {"errors": {"a": [text[at : at + 9] for at in range(0, len(text), 9)]}})
    ),
    Reader("place", 60_000, _body(lambda text: {"detail": [{"loc": [*text, text], "msg": text}]})),
    Reader("body", 65_536, _given(lambda text: parse_problem(text.encode(), "text/plain")), ATOMS),
    Reader("media type", 65_536, _given(lambda text: parse_problem(b"x", text))),
    Reader("media type of a success", 65_536, _given(_media_type)),
    Reader("query", 8_192, _given(lambda text: redact_target("/?" + text)), (*PLAIN, "&", "a=b&")),
    Reader("path", 8_192, _given(lambda text: encode_target("/" + text, None, None)), (*PLAIN, "../", "{a", "{a}")),
    Reader("path value", 8_192, _given(lambda text: encode_target("/{a}", {"a": text}, None)), (*PLAIN, "../")),
    Reader("query value", 8_192, _given(lambda text: encode_target("/", None, {"a": text, text: "a"}))),
    Reader("header values", 60_000, _headers, ("a", ",")),
    Reader("header names", 60_000, _names, ("a", "A")),
    Reader("encoding", 65_536, _given(_encoding)),
    Reader("Retry-After", 65_536, _given(lambda text: parse_retry_after(text, None, 0.0))),
    Reader("Retry-After as a date", 65_536, _given(lambda text: parse_retry_after("Fri, " + text, None, 0.0))),
    Reader("Date", 65_536, _given(lambda text: parse_retry_after("Fri, 15 Jan 2027 08:00:01 GMT", text, 0.0))),
    Reader("correlation id", 65_536, _given(choose_correlation_id)),
    Reader("token", 65_536, _given(is_token)),
    Reader("key", 65_536, _given(check_api_key)),
    Reader("base URL", 65_536, _given(lambda text: check_base_url("http://" + text))),
    Reader("time", 65_536, _given(lambda text: _time({"at": "2027-01-15T00:00:00" + text}))),
    Reader("setting", 65_536, _given(lambda text: ResolvedSettings(environ={f"{PREFIX}RETRY_BASE_DELAY_S": text}))),
    Reader("name of a setting", 8_192, _given(lambda text: ResolvedSettings(environ={f"{PREFIX}{text}": "1"}))),
    Reader("trace line", 65_536, _given(lambda text: read_line(text.encode()))),
    Reader("span", 65_536, _trace_line),
)


def _text(atom: str, size: int, end: str) -> str:
    return (atom * (size // len(atom) + 1))[: size - len(end)] + end


def _cost(call: Callable[[], object]) -> float:
    before = time.thread_time()
    with suppress(PlatformError, ValueError):
        call()
    return time.thread_time() - before


def is_linear(once: Callable[[], object], twice: Callable[[], object]) -> bool:
    """Does *twice* cost at most 2.5 times what *once* does?"""
    ratios = []
    while len(ratios) < MOST_RUNS:
        before, double, after = _cost(once), _cost(twice), _cost(once)
        if double <= NEGLIGIBLE_S:
            return True
        ratios.append(2 * double / (before + after))
        if len(ratios) >= RUNS and median(ratios) < MOST:
            return True
        if len(ratios) == RUNS - 1 and max(ratios) < MOST:  # so is the median of three, whatever the third is
            return True
    return False


def is_read_in_proportion(name: str, atom: str, end: str) -> bool:
    """Is *atom*, repeated up to the limit of the reader *name*, read in proportion to its length?"""
    reader = next(reader for reader in READERS if reader.name == name)
    once, twice = (reader.prepare(_text(atom, size, end)) for size in (reader.limit // 2, reader.limit))
    return is_linear(once, twice)


def _is_in_a_new_process(*arguments: str) -> bool:
    """
    Say what `is_read_in_proportion` says with a heap of its own.

    Late in a suite only the larger text may find no free block, and each page that the system provides costs a fault.
    """
    script = (
        "import gc, json, sys; from test_cost_of_text import is_read_in_proportion; gc.disable();"
        "sys.exit(not is_read_in_proportion(*json.loads(sys.argv[1])))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, json.dumps(arguments)]
    return subprocess.run(command, env=environment, check=False).returncode == 0


@pytest.fixture(autouse=True)
def no_garbage_collection():
    """Its work depends on all that is in the process's memory, and twice the text starts it twice as often."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("end", ["", "@="])
@pytest.mark.parametrize("reader", READERS, ids=[reader.name for reader in READERS])
def test_twice_the_text_costs_at_most_two_and_a_half_times_as_much(reader, end):
    """R52: every reader, every shape of text, with ends that let a pattern fail late, up to the reader's limit."""
    slow = [atom for atom in reader.atoms if not is_read_in_proportion(reader.name, atom, end)]
    assert [atom for atom in slow if not _is_in_a_new_process(reader.name, atom, end)] == []


@pytest.mark.parametrize("atom", ["a", "[", "[[a", "[a]\n", "a = 1\n", " ", "\n", "a."])
def test_the_places_of_settings_in_a_file_are_found_in_proportion_to_its_length(atom):
    """Up to its limit of 64 KiB a file is read line by line, with a pattern of ours for the tables' headers."""
    read = _given(_lines_of)
    assert is_linear(read(_text(atom, 10_000, "x")), read(_text(atom, 20_000, "x")))


def test_the_measure_sees_what_is_quadratic():
    """A pattern that starts again at every character and then fails is found, one with a left boundary is not."""
    search = _given(re.compile(r"[\w.]+@").search)
    assert not is_linear(search("a" * 1_500), search("a" * 3_000))
    search = _given(re.compile(r"(?<![\w.])[\w.]++@").search)
    assert is_linear(search("a" * 15_000), search("a" * 30_000))
