"""
Encodes a call's arguments: path, query, body, and the idempotency key.

Placed above the retry, so that every attempt sends the same bytes and the same key.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlencode
from uuid import UUID

from middleware.errors import InvalidArgumentError
from middleware.settings import Settings, SettingSpec
from middleware.steps import Step
from middleware.types import KEYED_METHODS, PlatformRequest

from .header_values import MAX_TOKEN, is_token
from .idempotency import add_key

__all__ = ["EncodeMiddleware", "PathSettings", "check_endpoint", "encode_body", "encode_target", "time_span"]

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_USUAL_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"})
_METHOD = re.compile(r"(?!(?:CONNECT|TRACE)\Z)[A-Z]{1,20}")  # those two address a proxy, or return credentials
_SAFE = "/%:@!$&'()*+,;=~"  # in a path, and not a separator of its own
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]+")  # RFC 3986 section 2.3: characters that are never encoded
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # Unicode category Cc
# Dots between separators. Windows accepts '\' as a separator, and servlet containers drop a segment's text after ';'.
_DOT_SEGMENT = re.compile(r"(?:\A|[/\\])\.\.?(?=[/\\;]|\Z)")
_SEPARATOR = re.compile(r"[/\\;]")
_NO_DOT_SEGMENTS = "must not contain '.' or '..' segments"
# Values that JSON has no type for; a datetime is a date too.
_VALUES = (UUID, date, time, timedelta, Decimal)
_LARGE = 2**64  # equivalent: a larger one is written alike, unless it has more digits than CPython writes
_DOTS = frozenset({".", ".."})
_MAX_TARGET = 8192  # characters; common servers accept a request line of that length


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSettings(Settings):
    """Which values a path template takes."""

    allow_slash: Annotated[
        bool,
        SettingSpec(
            doc="Send values that contain '/', '\\' or ';', percent-encoded; only for operations whose gateways do not "
            "decode a path before they choose its route.",
            raise_when="Ids contain `/`, and no gateway on the way decodes a path before it chooses its route.",
            lower_when="Any gateway on the way routes by the decoded path, as nginx and Apache do.",
        ),
    ] = False


def encode_target(
    path: str,
    path_params: Mapping[str, Any] | None,
    params: Mapping[str, Any] | None,
    *,
    allow_slash: bool = False,
) -> str:
    """
    Encode path and query as a request target.

    With *path_params*, *path* is a template: each placeholder becomes exactly one encoded segment. Without, *path*
    is already filled, and only its unsafe characters are encoded. Both are rejected where a gateway that decodes
    before it routes could see another path.

    Args:
        path: The path.
        path_params: Values for its placeholders.
        params: Query values.
        allow_slash: Values may contain separators: slash, backslash, semicolon.

    Raises:
        InvalidArgumentError: The result would not be one path below the base URL; names the argument.
    """
    if not isinstance(path, str):
        raise InvalidArgumentError(f"path: must be str, got {type(path).__name__}")
    filled = _by_hand(path) if path_params is None else _fill(path, path_params, allow_slash=allow_slash)
    target = filled if params is None else filled + _query(params)
    if len(target) > _MAX_TARGET:
        raise InvalidArgumentError(f"path and params: encoded they are longer than {_MAX_TARGET} characters")
    return target


def _check_path(path: str) -> None:
    if not path.startswith("/") or path.startswith("//"):
        raise InvalidArgumentError("path: must start with exactly one '/': absolute URLs are refused")
    decoded = _decoded(path)  # R54
    if _CONTROL.search(decoded) or any(char in path for char in "\\?#"):
        raise InvalidArgumentError(
            "path: must not contain control characters, '\\', '?' or '#'; use params for a query"
        )
    if _DOT_SEGMENT.search(decoded):
        raise InvalidArgumentError(f"path: {_NO_DOT_SEGMENTS}")


def _decoded(text: str) -> str:
    """
    Decode the percent-encoding of *text* twice, as a gateway and the service behind it may do.

    Decoding removes no '/', '.' or control character: those of the text itself, and of the text decoded once, are all
    in the result.
    """
    return unquote(unquote(text))


def _by_hand(path: str) -> str:
    _check_path(path)
    return _quote(path, "path", safe=_SAFE)


@lru_cache(maxsize=1024)
def _template(path: str) -> tuple[str, ...]:
    """Split a template into alternating fixed text, encoded, and names; cached, since a program has few templates."""
    _check_path(path)
    parts = _PLACEHOLDER.split(path)
    parts[::2] = [_quote(part, "path", safe=_SAFE) for part in parts[::2]]
    return tuple(parts)


def check_endpoint(method: str, path: str) -> None:
    """
    Check what is constant about the requests of an endpoint: its method and its template.

    Raises:
        InvalidArgumentError: One of them can never be sent; names it.
    """
    for name, value in (("method", method), ("path", path)):
        if not isinstance(value, str):
            raise InvalidArgumentError(f"{name}: must be str, got {type(value).__name__}")
    if _METHOD.fullmatch(method.upper()) is None:
        raise _not_a_method(method.upper())
    _template(path)


def _not_a_method(method: str) -> InvalidArgumentError:
    other = " other than CONNECT and TRACE" if method in {"CONNECT", "TRACE"} else ""
    return InvalidArgumentError(f"method: must be an HTTP method{other}")


def _fill(path: str, values: Mapping[str, Any], *, allow_slash: bool) -> str:
    if type(values) is not dict and not isinstance(values, Mapping):
        raise InvalidArgumentError(f"path_params: must be a mapping, got {type(values).__name__}")
    parts = _template(path)
    if unused := values.keys() - parts[1::2]:
        raise InvalidArgumentError(f"path_params: not in the path: {', '.join(sorted(map(str, unused)))}")
    filled = list(parts)
    for index in range(1, len(parts), 2):
        value = values.get(parts[index])  # of the two usual kinds of ids nothing is to be checked or encoded
        if type(value) is str and _UNRESERVED.fullmatch(value) is not None and value not in _DOTS:
            filled[index] = value
        elif type(value) is int and -_LARGE < value < _LARGE:
            filled[index] = str(value)
        else:
            filled[index] = _segment(parts[index], values, allow_slash=allow_slash)
    target = "".join(filled)
    if "%" in target and _shares_segment(path):  # R54
        # Once more than a value by itself, which is encoded here.
        decoded = unquote(_decoded(target))
        if decoded != "".join(unquote(_decoded(part)) for part in filled) or _DOT_SEGMENT.search(decoded):
            raise InvalidArgumentError(
                "path_params: must not form a percent-escape, or a '.' or '..' segment, with the text next to them"
            )
    return target


@lru_cache(maxsize=1024)
def _shares_segment(path: str) -> bool:
    """Whether any placeholder of *path* is a part of its segment, and not the whole one; cached, as templates are."""
    return any(_PLACEHOLDER.search(part) and not _PLACEHOLDER.fullmatch(part) for part in path.split("/"))


def _segment(name: str, values: Mapping[str, Any], *, allow_slash: bool) -> str:
    if name not in values:
        raise InvalidArgumentError(f"path_params.{name}: missing")
    value = values[name]
    if type(value) is not str and isinstance(value, _VALUES):  # most values are texts
        value = _written(value, f"path_params.{name}")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidArgumentError(f"path_params.{name}: must be str or int, got {type(value).__name__}")
    text = value if type(value) is str else _text(value, f"path_params.{name}")
    if text in {"", ".", ".."}:
        raise InvalidArgumentError(f"path_params.{name}: must not be empty, '.' or '..'")
    if _UNRESERVED.fullmatch(text):
        return text
    decoded = _decoded(text)  # R54
    if _CONTROL.search(decoded):
        raise InvalidArgumentError(f"path_params.{name}: must not contain control characters")
    if _DOT_SEGMENT.search(decoded):
        raise InvalidArgumentError(f"path_params.{name}: {_NO_DOT_SEGMENTS}")
    if not allow_slash and _SEPARATOR.search(decoded):  # R54
        raise InvalidArgumentError(
            f"path_params.{name}: must not contain '/', '\\' or ';' where path.allow_slash is off for the operation"
        )
    return _quote(text, f"path_params.{name}", safe=":")  # equivalent: `':~'`: a tilde is never encoded


def _query(params: Mapping[str, Any]) -> str:
    if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
        raise InvalidArgumentError("params: must be a mapping with names of type str")
    pairs = []
    for name, value in params.items():
        for item in value if isinstance(value, list | tuple) else (value,):
            if item is None:
                continue
            if isinstance(item, bool):
                pairs.append((name, "true" if item else "false"))
            elif isinstance(item, str | int | float):
                pairs.append((name, item if type(item) is str else _text(item, f"params.{name}")))
            else:
                pairs.append((name, _written(item, f"params.{name}")))
    if not pairs:
        return ""
    try:
        return "?" + urlencode(pairs, quote_via=quote)
    except UnicodeEncodeError:
        raise InvalidArgumentError("params: not encodable as UTF-8") from None


def _text(value: str | float, place: str) -> str:
    """Write *value* as JSON does: by its value, without the methods of a subclass, such as an enum's."""
    if isinstance(value, str):
        return str.__str__(value)
    try:
        return int.__repr__(value) if isinstance(value, int) else float.__repr__(value)
    except ValueError:  # CPython writes no integer of more than 4300 digits
        reason = f"{place}: has too many digits"
    raise InvalidArgumentError(reason)


def _written(value: Any, place: str) -> str:
    """
    Write a value that JSON has no type for, as .NET reads it.

    Raises:
        InvalidArgumentError: It is none; or a time has no zone, so that it would be another one at the service.
    """
    if not isinstance(value, _VALUES):
        raise InvalidArgumentError(f"{place}: must be str, number or bool, got {type(value).__name__}")
    if isinstance(value, datetime) and value.tzinfo is None:
        raise InvalidArgumentError(f"{place}: must have a time zone")
    if isinstance(value, timedelta):
        return time_span(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value) if isinstance(value, UUID) else value.isoformat()


def time_span(value: timedelta) -> str:
    """Write *value* as .NET's TimeSpan, `[-][d.]hh:mm:ss[.fffffff]`, which is no ISO 8601 duration."""
    days, rest = divmod(abs(value), timedelta(days=1))
    minutes, seconds = divmod(rest.seconds, 60)
    fraction = f".{rest.microseconds:06}0" if rest.microseconds else ""
    sign, whole = "-" if value < timedelta() else "", f"{days}." if days else ""
    return f"{sign}{whole}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{fraction}"


def _json_value(value: Any) -> Any:
    """Return what `json` writes for a value that it does not know; a Decimal is a number, if it stays exact."""
    if isinstance(value, Decimal):
        number = float(value)
        if not value.is_finite() or Decimal(repr(number)) != value:
            raise InvalidArgumentError("json_body: a Decimal has more digits than a JSON number keeps")
        return int(value) if value == value.to_integral_value() else number
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, _VALUES):
        return _written(value, "json_body")
    raise TypeError(type(value).__name__)


def _quote(text: str, place: str, *, safe: str) -> str:
    try:
        return quote(text, safe=safe)
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{place}: not encodable as UTF-8") from None


def encode_body(json_body: Any) -> bytes | None:
    """
    Encode a JSON body; None for no body.

    Raises:
        InvalidArgumentError: The body is not JSON-ready.
    """
    if json_body is None:
        return None
    try:
        return json.dumps(
            json_body, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_json_value
        ).encode()
    except InvalidArgumentError:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        # The class of the cause alone: its text may quote the body.
        reason = f"json_body: not JSON-ready ({type(error).__name__})"
    raise InvalidArgumentError(reason)


class EncodeMiddleware(Step):
    """Encodes path, query and body once per call, and adds the idempotency key."""

    def enter(self, request: PlatformRequest) -> None:
        """
        Encode the request.

        Raises:
            InvalidArgumentError: An argument cannot be sent.
        """
        if request.problem:
            raise InvalidArgumentError(request.problem)
        if request.method not in _USUAL_METHODS and _METHOD.fullmatch(request.method) is None:
            raise _not_a_method(request.method)
        if request.user_jwt is not None and request.user_jwt != "" and not is_token(request.user_jwt):
            # Checked here and not where it is added: what can never be sent must not count as an attempt.
            raise InvalidArgumentError(f"user_jwt: must be 1 to {MAX_TOKEN} visible ASCII characters without blanks")
        if request.json_body is not None:
            request.content = encode_body(request.json_body)  # R14
            request.headers["content-type"] = "application/json"
        if request.method in KEYED_METHODS:
            add_key(request)
        allow_slash = request.call.settings(PathSettings).allow_slash
        request.target = encode_target(request.path, request.path_params, request.params, allow_slash=allow_slash)
