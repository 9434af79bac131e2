"""
Injection points, found by running: calls that cross the border of our code, and waits.

`Calls` watches the interpreter's call events: a point is a call from our code into a library, from a library back into
our code, of a coroutine of the middleware, those of its transports among them, or of a listener. `Waits` drives the
coroutines of a call by hand: a point is a suspension, of the call itself or of a task that it started. Both count the
points of one run and let an action loose at one of them, so that running again and again with the next number meets
every point there is.
"""

import asyncio
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from dis import opname
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = f"{ROOT / 'middleware'}/", f"{ROOT / 'runtime' / 'connectors'}/"
TRANSPORTS = f"{ROOT / 'middleware' / 'transports'}/"
LIBRARIES = (
    "aiohttp",
    "anyio",
    "h11",
    "httpcore",
    "httpx",
    "json",
    "logging",
    "opentelemetry",
    "structlog",
    "tenacity",
)
TELEMETRY = {"opentelemetry", "structlog", "logging", "listener"}
WIRE = {"aiohttp", "h11", "httpcore", "httpx", "transport", "upstream"}

# What releases something fails only after it has done so: what becomes of a thing when closing itself fails is
# unknown.
GIVES_BACK = {"__aexit__", "__exit__", "abort", "aclose", "close", "detach", "_drop", "_give_back"}

under_torture: ContextVar[bool] = ContextVar("under_torture", default=False)
"""Set in the context of the call that is tortured, and so of the tasks that it starts; others pass unharmed."""


class ForeignError(Exception):
    """An exception that no part of the library knows."""


@dataclass(frozen=True)
class Point:
    """Where an injection hit."""

    library: str
    place: str
    is_counted: bool

    @property
    def is_telemetry(self):
        return self.library in TELEMETRY


@cache
def _library_paths():
    found = {f"{ROOT / 'runtime' / 'testing.py'}": "upstream"}
    for name in LIBRARIES:
        spec = importlib.util.find_spec(name)
        for place in spec.submodule_search_locations or () if spec else ():
            found[f"{place}/"] = name
    return found


class _Owners(dict):
    """Name of the library that a source file belongs to; `ours` for our own, empty for everything else."""

    def __missing__(self, filename):
        library = next((name for path, name in _library_paths().items() if filename.startswith(path)), "")
        self[filename] = "ours" if filename.startswith(OURS) else library
        return self[filename]


_owners = _Owners()


def _starts(frame):
    """Is this the first entry into a frame? A resumed generator or coroutine makes a call event too."""
    code = frame.f_code.co_code
    return code[frame.f_lasti + 1] == 0  # the argument of RESUME: 0 at the start of a function


def _ends(frame):
    return opname[frame.f_code.co_code[frame.f_lasti]].startswith("RETURN_")


def _crossed(code, caller):
    """Name the library whose border this call crosses; empty for one that crosses none."""
    callee, calling = _owners[code.co_filename], _owners[caller.co_filename]
    if calling == "ours" and caller.co_qualname == "FanOut.__call__":
        return "listener"
    if callee == "upstream":
        return callee if code.co_qualname.startswith(("ScriptedUpstream", "_Body")) else ""  # the clock is not wire
    if calling == callee:
        # The two with nothing above them: the client's entry, and the coroutine that runs the outermost steps, the one
        # that maps unexpected errors to ours among them.
        is_entry = "PlatformHttpClient._call" in (code.co_qualname, caller.co_qualname)
        is_point = code.co_flags & inspect.CO_COROUTINE or (code.co_name == "enter" and caller.co_name == "handle")
        if not is_point or is_entry:
            return ""
        return "transport" if code.co_filename.startswith(TRANSPORTS) else "ours"
    if code.co_name.startswith("_asyncgen_") or code.co_name == "__del__" or code.co_qualname == "_Progress.trace":
        return ""  # what the interpreter calls, not we; and two assignments, which cannot raise
    return calling if callee == "ours" else callee


def _is_counted(frame):
    """Does this call happen under one of the two places that count what telemetry loses?"""
    while frame is not None:
        if frame.f_code.co_qualname == "FanOut.__call__" or frame.f_code.co_qualname.startswith("SafeTracer."):
            return True
        frame = frame.f_back
    return False


class Calls:
    """
    Counts the calls that cross a border in a block, and acts at one of them.

    Args:
        at: Number of the call to act at, from 1; 0 counts only.
        act: Called there with whether the called function is a coroutine; what it raises comes out of that function.
        libraries: Only calls into these; None for all.

    Attributes:
        count: Calls seen.
        hit: Where it acted; None before.
    """

    def __init__(self, at=0, act: Callable[[bool], None] | None = None, libraries=None):
        self._at = at
        self._act = act
        self._libraries = libraries
        self._outer = None
        self.count = 0
        self.hit: Point | None = None

    def __enter__(self):
        self._outer = sys.gettrace()
        sys.settrace(self._called)
        return self

    def __exit__(self, *_raised):
        sys.settrace(self._outer)

    async def drive(self, coroutine):
        """Run *coroutine*; the whole thread is watched, so there is nothing to do but that."""
        return await coroutine

    def _called(self, frame, event, _argument):
        caller = frame.f_back
        if event != "call" or caller is None:
            return None
        if _owners[frame.f_code.co_filename] != "ours" and _owners[caller.f_code.co_filename] != "ours":
            return None  # first, because it is true of nearly all
        library = _crossed(frame.f_code, caller.f_code)
        if not library or (self._libraries is not None and library not in self._libraries):
            return None
        if not _starts(frame) or not under_torture.get():
            return None
        self.count += 1
        return self._at_call(library, frame) if self.count == self._at else None

    def _at_call(self, library, frame):
        caller = frame.f_back
        place = f"{caller.f_code.co_qualname}:{caller.f_lineno} -> {frame.f_code.co_qualname}"
        self.hit = Point(library, place, _is_counted(caller))
        if frame.f_code.co_name in GIVES_BACK:
            frame.f_trace_lines = False
            return self._returned
        sys.settrace(None)
        self._act(bool(frame.f_code.co_flags & inspect.CO_COROUTINE))
        return None

    def _returned(self, frame, event, _argument):
        if event == "return" and _ends(frame):
            sys.settrace(None)
            self._act(bool(frame.f_code.co_flags & inspect.CO_COROUTINE))
        return self._returned


class Waits:
    """
    Counts the suspensions of a call, and acts from one of them on.

    Args:
        at: Number of the suspension to act at, from 1; 0 counts only.
        act: Called there with 0, at the next one with 1 and so on, and with what is waited for; returns what to throw
            in, or None to wait.

    Attributes:
        count: Suspensions seen.
        hit: Where it acted first; None before.
    """

    def __init__(self, at=0, act=None):
        self._at = at
        self._act = act
        self.count = 0
        self.hit: Point | None = None

    def __enter__(self):
        asyncio.get_running_loop().set_task_factory(self._new_task)
        return self

    def __exit__(self, *_raised):
        asyncio.get_running_loop().set_task_factory(None)

    def _new_task(self, loop, coroutine, **options):
        return asyncio.Task(self.drive(coroutine) if under_torture.get() else coroutine, loop=loop, **options)

    async def drive(self, coroutine):
        """Run *coroutine* and act at its suspensions."""
        return await self._steps(coroutine)

    @types.coroutine
    def _steps(self, coroutine):
        error = None
        while True:
            try:
                waited = coroutine.send(None) if error is None else coroutine.throw(error)
            except StopIteration as end:
                return end.value
            error = self._at_wait(coroutine, waited)
            if error is not None:
                if waited is not None:
                    waited._asyncio_future_blocking = False  # as a task ends with it
                    waited.cancel()  # nothing waits for it any more, and asyncio cleans up by itself when cancelled
                continue
            try:
                yield waited
            except BaseException as raised:
                error = raised

    def _at_wait(self, coroutine, waited):
        self.count += 1
        if self.count < self._at or self._at == 0:
            return None
        if self.count == self._at:
            self.hit = Point("wait", _innermost(coroutine), is_counted=False)
        return self._act(self.count - self._at, waited)


def _innermost(coroutine):
    """Name the last functions on the way down to what is waited for."""
    names = []
    while coroutine is not None:
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(coroutine, f"{kind}_code")), None)
        if kind is None:
            break
        names.append(getattr(coroutine, f"{kind}_code").co_qualname)
        coroutine = getattr(coroutine, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
    return " > ".join(names[-3:])
