"""
Lines of OTLP JSON by msgspec, where it is installed (extra `fast`): of a span what is always needed, the rest unread.

A line of another shape than is usual is for the standard library's reader in `trace_file`, which says what is wrong.
"""

from typing import Any

import msgspec

__all__ = ["Attribute", "QuickSpan", "attributes_of", "programs_of", "value_of"]

_NONE = msgspec.Raw(b"null")


class QuickSpan(msgspec.Struct, gc=False, rename="camel"):
    """A span; its attributes and events are not read yet."""

    trace_id: str
    span_id: str
    start_time_unix_nano: str | int
    end_time_unix_nano: str | int
    parent_span_id: str | None = None
    name: str = ""
    kind: int | str = 0
    status: dict[str, Any] | None = None
    attributes: msgspec.Raw = _NONE
    events: msgspec.Raw = _NONE


class Attribute(msgspec.Struct, gc=False):
    """A name, and its value as OTLP writes it."""

    key: str
    value: dict[str, Any] | None = None


class _Scope(msgspec.Struct, gc=False, rename="camel"):
    spans: list[QuickSpan] | None = None


class _Program(msgspec.Struct, gc=False, rename="camel"):
    resource: dict[str, Any] | None = None
    scope_spans: list[_Scope] | None = None


class _Request(msgspec.Struct, gc=False, rename="camel"):
    resource_spans: list[_Program] | None = None


class _Document(_Request, gc=False, rename="camel"):
    result: _Request | msgspec.UnsetType = msgspec.UNSET  # as Jaeger's /api/v3 wraps it


_document = msgspec.json.Decoder(_Document)
_attributes = msgspec.json.Decoder(list[Attribute] | None)
_value = msgspec.json.Decoder()


def programs_of(line: bytes) -> list[tuple[Any, list[QuickSpan]]]:
    """
    Return the attributes of each program in *line*, as they are written, with its spans.

    Raises:
        msgspec.DecodeError: It is of another shape.
    """
    document = _document.decode(line)
    request = document if document.result is msgspec.UNSET else document.result
    return [
        (
            (program.resource or {}).get("attributes"),
            [span for scope in program.scope_spans or () for span in scope.spans or ()],
        )
        for program in request.resource_spans or ()
    ]


def attributes_of(raw: bytes) -> list[Attribute]:
    """
    Return the attributes in *raw*.

    Raises:
        msgspec.DecodeError: They are of another shape.
    """
    return _attributes.decode(raw) or []


def value_of(raw: bytes) -> Any:
    """
    Return what *raw* is, as the standard library would.

    Raises:
        msgspec.DecodeError: It is no JSON, or of the few kinds that the standard library alone reads.
    """
    return _value.decode(raw)
