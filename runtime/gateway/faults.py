"""Scripted faults: what the gateway does instead of, or around, a normal response."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from random import Random
from typing import Any

__all__ = ["KINDS", "Fault", "FaultScript"]

KINDS = {
    "status": "respond with `status`, and with `retry_after`, `headers` and `body` if given",
    "latency": "wait `seconds`, then respond normally",
    "stall": "keep the socket open and say nothing",
    "reset": "reset the connection (a real RST)",
    "short_body": "promise more bytes than are sent, then close",
    "drip": "send the body one byte every `seconds`",
    "garbage": "send bytes that are not HTTP",
    "close_idle": "respond normally, then close the kept-alive connection without notice",
}

_WITH_SECONDS = frozenset({"latency", "drip"})
_NOT_YET_APPLIED = frozenset({"status", "stall", "reset", "garbage"})  # the others apply the request in any case
_WORDS = {
    "seconds": re.compile(r"(\d+(?:\.\d+)?)(ms|s)"),
    "share": re.compile(r"(\d+(?:\.\d+)?)%"),
    "times": re.compile(r"([1-9]\d*)x"),
    "status": re.compile(r"([2-5]\d\d)"),
    "retry_after": re.compile(r"retry-after=(\S+)"),
    "applied": re.compile(r"(applied)"),
    "method": re.compile(r"([A-Z]+)"),
    "path": re.compile(r"(/.*)"),
}
"""What each word of a fault's text sets, by its shape."""

_MATCHED = 512
_MAX_CHOICES = 3
_CHOICE = re.compile(r"[*+?{|]")
_REPEATED_GROUP = re.compile(r"\)\s*[*+{]")
# What contains the characters of a choice and is none: escapes, classes, heads of groups, lazy and possessive suffixes.
_NO_CHOICES = (
    (re.compile(r"\\."), "-"),
    (re.compile(r"\[\^?\]?[^]]*\]"), "-"),
    (re.compile(r"\(\?[:=!]"), "("),
    (re.compile(r"([*+?}])[?+]"), r"\1"),
)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """
    One scripted misbehaviour.

    Args:
        kind: One of `KINDS`.
        times: Requests it applies to; 0 means until cleared.
        share: Share of the matching requests that it applies to, by chance, the same in each run.
        method: Only requests with this method; empty for any.
        path: Only requests whose path, of at most 512 characters, matches this regular expression; empty for any. It
            has at most three of `*`, `+`, `?`, `{…}` and `|`, or two where it does not begin with `^`, and repeats no
            group, so that no path can make it slow.
        applied: True applies the request first, so that only its response is lost or replaced.
        status: For `status`.
        retry_after: For `status`: value of the Retry-After header as it is.
        headers: For `status`: further headers of the response.
        body: For `status`: body of the response as it is.
        content_type: For `status`: type of the body.
        seconds: For `latency` and `drip`.
    """

    kind: str
    times: int = 1
    share: float = 1.0
    method: str = ""
    path: str = ""
    applied: bool = False
    status: int = 503
    retry_after: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    body: str = ""
    content_type: str = "application/json"
    seconds: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"fault.kind: must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.times < 0:
            raise ValueError(f"fault.times: must be >= 0, got {self.times}")
        if not 0 < self.share <= 1:
            raise ValueError(f"fault.share: must be in (0, 1], got {self.share}")
        if not isinstance(self.headers, Mapping) or not all(isinstance(v, str) for v in self.headers.values()):
            raise ValueError("fault.headers: must be an object of texts")
        _check_bounded(self.path)

    @classmethod
    def from_json(cls, document: Any) -> "Fault":
        """
        Make a fault from its JSON object.

        Raises:
            ValueError: Unknown field or bad value.
        """
        known = {entry.name for entry in fields(cls)}
        if not isinstance(document, Mapping) or not set(document) <= known:
            raise ValueError(f"fault: must be an object of {', '.join(sorted(known))}")
        try:
            return cls(**document)
        except (TypeError, re.error) as error:
            raise ValueError(f"fault: {error}") from None

    @classmethod
    def from_text(cls, text: str) -> "Fault":
        """
        Make a fault from its text, for example `latency 3s 50% /api/auth` or `503 2x retry-after=7 POST`.

        A kind, or a status for the kind `status`; then, in any order, each at most once: `3s` or `300ms`, `50%` of the
        requests, `2x` for two requests instead of all until cleared, `retry-after=7`, `applied`, a method, and a path,
        which is a regular expression for the beginning of the request's path.

        Raises:
            ValueError: A word is unknown, is given twice, or does not apply to the kind.
        """
        first, *words = text.split() or [""]
        if _WORDS["status"].fullmatch(first):
            first, words = "status", [first, *words]
        if first not in KINDS:
            raise ValueError(f"must begin with a status or one of {', '.join(KINDS)}, got {first!r}")
        given: dict[str, Any] = {}
        for word in words:
            name, value = _read(word)
            if name in given:
                raise ValueError(f"{word!r}: {name} is given twice")
            if not _applies(name, first):
                raise ValueError(f"{word!r}: a fault of the kind {first!r} has no {name}")
            given[name] = value
        return cls.from_json({"kind": first, "times": 0, **given})

    def to_json(self) -> dict[str, Any]:
        """Return the fault as a JSON object."""
        return asdict(self)

    def matches(self, method: str, path: str) -> bool:
        """Does this fault apply to a request?"""
        if self.method and self.method != method:
            return False
        return not self.path or (len(path) <= _MATCHED and re.search(self.path, path) is not None)


def _check_bounded(pattern: str) -> None:
    """
    Reject a pattern that may take long.

    With n characters and k choices there are about n^k ways to match, and as many more where it may begin anywhere.
    """
    try:
        re.compile(pattern)
    except (re.error, TypeError, OverflowError, RecursionError) as error:
        problem = f"fault: path: must be a regular expression ({error})"
    else:
        problem = "" if isinstance(pattern, str) else "fault: path: must be a text"
    if problem:
        raise ValueError(problem)
    for shape, instead in _NO_CHOICES:
        pattern = shape.sub(instead, pattern)
    choices = len(_CHOICE.findall(pattern)) + (not pattern.startswith("^"))
    if choices > _MAX_CHOICES or _REPEATED_GROUP.search(pattern) or "(?" in pattern:
        raise ValueError(
            f"fault.path: must have at most {_MAX_CHOICES} of * + ? {{ | ({_MAX_CHOICES - 1} without ^), "
            "no repeated group, and of (?…) only (?:…), (?=…) and (?!…)"
        )


def _read(word: str) -> tuple[str, Any]:
    """Return which field of a fault *word* sets, and to what."""
    for name, shape in _WORDS.items():
        found = shape.fullmatch(word)
        if found is None:
            continue
        value = found[1]
        if name == "seconds":
            return name, float(value) / (1000 if found[2] == "ms" else 1)
        if name == "share":
            return name, float(value) / 100
        if name in {"times", "status"}:
            return name, int(value)
        return name, True if name == "applied" else f"^{value}" if name == "path" else value
    known = "a time (3s), a share (50%), a number (2x), a status, retry-after=…, applied, a METHOD or a /path"
    raise ValueError(f"{word!r}: is none of {known}")


def _applies(name: str, kind: str) -> bool:
    if name in {"status", "retry_after"}:
        return kind == "status"
    if name == "seconds":
        return kind in _WITH_SECONDS
    return name != "applied" or kind in _NOT_YET_APPLIED


class FaultScript:
    """Faults in the order they were scripted; each request consumes the first one that matches it."""

    def __init__(self) -> None:
        self._pending: list[list[Any]] = []  # [fault, requests left or None]
        self._random = Random(0)  # noqa: S311 - chance that a test can repeat

    def add(self, faults: Iterable[Fault]) -> None:
        """Append *faults*."""
        self._pending.extend([fault, fault.times or None] for fault in faults)

    def clear(self) -> None:
        """Forget all faults."""
        self._pending.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Consume the fault for this request, if any."""
        for entry in self._pending:
            fault: Fault = entry[0]
            if fault.matches(method, path) and (fault.share == 1 or self._random.random() < fault.share):
                if entry[1] is not None:
                    entry[1] -= 1
                    if entry[1] == 0:
                        self._pending.remove(entry)
                return fault
        return None
