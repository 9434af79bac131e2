"""
Finds in the text of a server what the request carried: values of its JSON body and its query.

A server quotes in its error what it does not like. Values are found as they were sent, in the spelling of JSON strings
(backslash and `u00fc`) and percent-encoded (`%C3%BC`, `+`). The cost is linear in the text and in the body.
"""

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .redaction import MASK, Redactor, query_values
from .types import PlatformRequest

__all__ = ["Echoes", "redactor_of"]

_LEAST_IN_BODY = 8
_LEAST_IN_QUERY = 6
"""Shortest values that are masked; shorter ones would mask common words."""

_LEAST_CUT = 8
_CUT_MARKS = " .…\"'`)]}>"
_ESCAPED = re.compile(r'(?:%[0-9A-Fa-f]{2})+|(?:\\u[0-9A-Fa-f]{4})+|\\["\\/bfnrt]|\+')


class _View(NamedTuple):
    """
    A text as a reader of its spelling sees it.

    Attributes:
        text: The decoded text.
        at: Where each of its characters begins in the original, and where the last one ends.
    """

    text: str
    at: "range | list[int]"


class _Values:
    """
    Values that begin with the same characters, sorted, so that a text needs few comparisons however many there are.

    Of each value it is known which other one is its longest beginning: that one is tried where it does not match.
    """

    def __init__(self, values: Iterable[str]) -> None:
        self._sorted = sorted(values)
        self._longest = max(map(len, self._sorted))
        self._within: list[int] = []
        around: list[int] = []
        for number, value in enumerate(self._sorted):
            while around and not value.startswith(self._sorted[around[-1]]):
                around.pop()
            self._within.append(around[-1] if around else -1)
            around.append(number)

    def has_beginning(self, text: str) -> bool:
        """Return whether a value begins with *text*."""
        if len(text) > self._longest:
            return False
        follows = bisect_left(self._sorted, text)
        return follows < len(self._sorted) and self._sorted[follows].startswith(text)

    def longest_in(self, text: str, at: int) -> int:
        """Return the length of the longest value that is in *text* at *at*; 0 for none."""
        # The values between a beginning of the text and the text itself all have that beginning.
        found = bisect_right(self._sorted, text[at : at + self._longest]) - 1
        while found >= 0:
            if text.startswith(self._sorted[found], at):
                return len(self._sorted[found])
            found = self._within[found]
        return 0


class Echoes:
    """
    The values that a request carried, to mask them where its response repeats them.

    Field names, and what the operation, its route and its service are called, are never masked: a message without them
    would be of no use.

    Args:
        request: The request; its body is read when the first text is.
    """

    def __init__(self, request: PlatformRequest) -> None:
        self._request = request
        info = request.call.info
        self._own_words = f"{info.service} {info.operation} {info.route} {info.correlation_id}".casefold()
        self._names: set[str] = set()
        self._by_beginning: dict[str, _Values] | None = None

    def mask(self, text: str) -> str:
        """Return *text* with a mask for each of the values."""
        spans = sorted(span for view in _views(text) for span in self._spans(view))
        pieces: list[str] = []
        end = 0
        for start, stop in spans:
            if start >= end:
                pieces += text[end:start], MASK
            end = max(end, stop)
        return "".join(pieces) + text[end:] if spans else text

    def _spans(self, view: _View) -> Iterator[tuple[int, int]]:
        index = self._index()
        at, end = 0, len(view.text.rstrip(_CUT_MARKS))
        while index and at <= len(view.text) - _LEAST_IN_QUERY:
            values = index.get(view.text[at : at + _LEAST_IN_QUERY])
            size = 0
            if values is not None:
                # A server shortens what it quotes, and so do we.
                is_cut = end - at >= _LEAST_CUT and values.has_beginning(view.text[at:end])
                size = end - at if is_cut else values.longest_in(view.text, at)
                if is_cut and self._is_word(view.text[at:end]):
                    size = 0
            if size:
                yield view.at[at], view.at[at + size]
            at += size or 1

    def _index(self) -> "dict[str, _Values]":
        """Return the values by their first characters."""
        if self._by_beginning is None:
            found = dict.fromkeys(self._values())  # first, since it finds the names of fields
            grouped: dict[str, set[str]] = {}
            for value in found:
                if not self._is_word(value):
                    for spelling in (value, value.replace("+", " ")):
                        grouped.setdefault(spelling[:_LEAST_IN_QUERY], set()).add(spelling)
            self._by_beginning = {beginning: _Values(values) for beginning, values in grouped.items()}
        return self._by_beginning

    def _is_word(self, text: str) -> bool:
        folded = text.strip().casefold()
        return folded in self._names or folded in self._own_words

    def _values(self) -> Iterator[str]:
        self._names.update(str(name).casefold() for name in self._request.params or {})
        yield from query_values(self._request.params)
        query = self._request.target.partition("?")[2]
        if len(query) >= _LEAST_IN_QUERY:
            yield query  # whole: a repeated request line shows short values too
        left: list[Any] = [self._request.json_body]
        while left:
            value = left.pop()
            if isinstance(value, dict):
                self._names.update(str(name).casefold() for name in value)
                left += value.values()
            elif isinstance(value, list | tuple):
                left += value
            elif isinstance(value, str) and len(value) >= _LEAST_IN_BODY:
                yield value


def redactor_of(request: PlatformRequest, *, budget: float) -> Redactor:
    """Return what makes texts of a response to *request* safe to show, within *budget* characters."""
    return Redactor(
        request.user_jwt,
        request.app_key,
        request.headers.get("x-mozaiks-app-key"),
        budget=budget,
        mask_echoes=Echoes(request).mask,
    )


def _views(text: str) -> Iterator[_View]:
    yield _View(text, range(len(text) + 1))
    pieces: list[str] = []
    at: list[int] = []
    end = 0
    for escape in _ESCAPED.finditer(text):
        pieces.append(text[end : escape.start()])
        at += range(end, escape.start())
        end = escape.start()
        for char, size in _unescaped(escape[0]):
            pieces.append(char)
            at.append(end)
            end += size
    if at or pieces:
        yield _View("".join(pieces) + text[end:], [*at, *range(end, len(text) + 1)])


def _unescaped(escape: str) -> Iterator[tuple[str, int]]:
    """Yield each character of a run of escapes, and how many characters it is written with."""
    if escape == "+":
        yield " ", 1
    elif escape.startswith("%"):
        try:
            decoded = bytes.fromhex(escape.replace("%", "")).decode()
        except UnicodeDecodeError:
            decoded = bytes.fromhex(escape.replace("%", "")).decode("latin-1")
            yield from ((char, 3) for char in decoded)
        else:
            yield from ((char, 3 * len(char.encode())) for char in decoded)
    elif escape.startswith("\\u"):
        yield from ((char, 12 if ord(char) > 0xFFFF else 6) for char in json.loads(f'"{escape}"'))  # noqa: PLR2004
    else:
        yield json.loads(f'"{escape}"'), 2
