"""
Lines of OTLP JSON by msgspec, where it is installed (extra `fast`): of a span what is always needed, the rest unread.

A line of another shape than is usual is for the standard library's reader in `trace_file`, which says what is wrong.
"""

from typing import Any

import msgspec

__all__ = ["QuickEvent", "QuickSpan", "plain_attributes_of", "programs_of", "value_of"]

_NONE = msgspec.Raw(b"null")


class QuickEvent(msgspec.Struct, gc=False, rename="camel"):
    """An event of a span; its attributes are not read yet."""

    time_unix_nano: str | int
    name: str = ""
    attributes: msgspec.Raw = _NONE


class QuickSpan(msgspec.Struct, gc=False, rename="camel"):
    """A span; its attributes are not read yet."""

    trace_id: str
    span_id: str
    start_time_unix_nano: str | int
    end_time_unix_nano: str | int
    parent_span_id: str | None = None
    name: str = ""
    kind: int | str = 0
    status: dict[str, Any] | None = None
    attributes: msgspec.Raw = _NONE
    events: list[QuickEvent] | None = None


class _Plain(msgspec.Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    """A value of one of the usual kinds, as OTLP writes it."""

    string_value: str | msgspec.UnsetType = msgspec.UNSET
    int_value: int | str | msgspec.UnsetType = msgspec.UNSET
    double_value: float | str | msgspec.UnsetType = msgspec.UNSET
    bool_value: bool | msgspec.UnsetType = msgspec.UNSET


class _Attribute(msgspec.Struct, gc=False):
    key: str
    value: _Plain | None = None


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
_attributes = msgspec.json.Decoder(list[_Attribute] | None)
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


def plain_attributes_of(raw: bytes) -> dict[str, Any]:
    """
    Return the attributes in *raw*, texts as they are.

    Raises:
        msgspec.DecodeError: They are of another shape, or not all of the usual kinds.
        ValueError: A number is none.
    """
    found: dict[str, Any] = {}
    for attribute in _attributes.decode(raw) or ():
        value = attribute.value
        if value is None:
            found[attribute.key] = None
        else:
            text = value.string_value
            found[attribute.key] = _scalar(value) if text is msgspec.UNSET else text
    return found


def _scalar(value: _Plain) -> Any:
    whole, number, flag = value.int_value, value.double_value, value.bool_value
    kinds = [kind for kind in (whole, number, flag) if kind is not msgspec.UNSET]
    if len(kinds) > 1:
        raise msgspec.ValidationError("a value has one kind")
    if whole is not msgspec.UNSET:
        return int(whole)
    return float(number) if number is not msgspec.UNSET else kinds[0] if kinds else None


def value_of(raw: bytes) -> Any:
    """
    Return what *raw* is, as the standard library would.

    Raises:
        msgspec.DecodeError: It is no JSON, or of the few kinds that the standard library alone reads.
    """
    return _value.decode(raw)
