"""Values of declared types: valid arguments, hostile ones, and whether a result is of its type."""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

__all__ = [
    "HOSTILE",
    "anything",
    "hostile_arguments",
    "hostile_requests",
    "problem_of",
    "required_arguments",
    "shown",
    "unnamed",
]

_UNIONS = (Union, types.UnionType)
_PLAIN: Mapping[Any, Any] = {
    Mapping: {},
    dict: {},
    list: [],
    Sequence: [],
    Iterable: [],
    set: set(),
    frozenset: frozenset(),
    tuple: (),
    int: 1,
    float: 1.5,
    bool: True,
    bytes: b"",
    datetime: datetime(2027, 1, 15, tzinfo=UTC),
    date: date(2027, 1, 15),
    time: time(8, 30),
    timedelta: timedelta(hours=1),
    Decimal: Decimal("1.5"),
    UUID: UUID(int=1),
}


def unnamed(kind: Any) -> Any:
    """Return the type that a `NewType`, or an alias made by `type`, is a name of; any other type as it is."""
    while (other := getattr(kind, "__supertype__", getattr(kind, "__value__", None))) is not None and not isinstance(
        kind, type
    ):
        kind = other
    return kind


# --- valid ------------------------------------------------------------------------------------------------------------


def anything(kind: Any) -> Any:
    """Return a value that an argument of type *kind* accepts; where a word is expected, a valid one."""
    kind = unnamed(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints, missing = get_type_hints(kind), dataclasses.MISSING
        needed = [field.name for field in dataclasses.fields(kind) if field.default is missing is field.default_factory]
        return kind(**{name: anything(hints[name]) for name in needed})
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind))
    return _PLAIN.get(get_origin(kind) or kind, "platform")


def required_arguments(method: Callable[..., Any]) -> dict[str, Any]:
    """Return a value for each argument of *method* that has no default."""
    return {name: anything(kind) for name, kind in _required(getattr(method, "__func__", method))}


@functools.cache
def _required(function: Callable[..., Any]) -> list[tuple[str, Any]]:
    hints = get_type_hints(function)
    parameters = inspect.signature(function).parameters.values()
    needed = [one.name for one in parameters if one.default is inspect.Parameter.empty and one.name != "self"]
    return [(name, hints[name]) for name in needed]


# --- hostile ----------------------------------------------------------------------------------------------------------


class _Ambush(str):
    """A text whose every method raises."""

    __slots__ = ()

    def _raise(self, *_: Any) -> Any:
        raise RuntimeError("ambush")

    __eq__ = __hash__ = __str__ = __repr__ = __len__ = __iter__ = __getitem__ = __bool__ = __format__ = _raise
    __deepcopy__ = __add__ = __radd__ = __lt__ = __gt__ = _raise


class _AmbushList(list[Any]):
    """A list that cannot be read."""

    def __iter__(self) -> Any:
        raise RuntimeError("ambush")

    __len__ = __bool__ = __getitem__ = __deepcopy__ = __eq__ = __iter__  # type: ignore[assignment] # each raises


class _AmbushObject:
    """An object that raises for every attribute and operator."""

    def __getattr__(self, _name: str) -> Any:
        raise RuntimeError("ambush")

    __eq__ = __bool__ = __len__ = __iter__ = __int__ = __index__ = __add__ = __radd__ = __lt__ = __hash__ = __repr__ = (
        _Ambush._raise  # noqa: SLF001 - each raises
    )


_ODD: tuple[Any, ...] = (
    *(None, "", "admin", b"admin", "\ud800", "x" * 10_000, object(), [], {}, 7, -1, 2**70, 1.5, float("nan"), True),
    *("10", "..", b"\0", {"a": object()}, [object()], _AmbushObject, Exception("x")),
)
HOSTILE: tuple[Any, ...] = (*_ODD, _Ambush("x"), _AmbushList([1]), _AmbushObject())
"""Values that an argument may have at run time, whatever its annotation says; some raise whatever is done to them."""


def hostile_requests(method: Callable[..., Any], value: Any) -> dict[str, Any]:
    """Return for each argument of *method* that is a dataclass one whose fields all are *value*."""
    return {name: _filled(kind, value) for name, kind in _models(getattr(method, "__func__", method)).items()}


@functools.cache
def _models(function: Callable[..., Any]) -> dict[str, type[Any]]:
    """Arguments of *function* that are dataclasses, by name."""
    hints = {name: hint for name, hint in get_type_hints(function).items() if name != "return"}
    options = [(name, kind) for name, hint in hints.items() for kind in (hint, *get_args(hint))]
    return {name: kind for name, kind in options if dataclasses.is_dataclass(kind) and isinstance(kind, type)}


def _filled(kind: type[Any], value: Any) -> Any:
    made = object.__new__(kind)  # a `__post_init__` that validates would reject it
    for field in dataclasses.fields(kind):
        object.__setattr__(made, field.name, value)
    return made


def hostile_arguments(method: Callable[..., Any], valid: Mapping[str, Any]) -> Any:
    """
    Return a hypothesis strategy of arguments of *method*: each valid, hostile or, where it has a default, left out.

    Args:
        method: A bound method.
        valid: Valid arguments.
    """
    from hypothesis import strategies

    nested = _anything_at_all()
    required: dict[str, Any] = {}
    optional: dict[str, Any] = {}
    for name, parameter in inspect.signature(method).parameters.items():
        options = [nested]
        if name in valid:
            options.append(strategies.just(valid[name]))
        if name in _models(getattr(method, "__func__", method)):
            options.append(nested.map(functools.partial(_request_of, method, name)))
        chosen = strategies.one_of(options)
        (required if parameter.default is parameter.empty else optional)[name] = chosen
    return strategies.fixed_dictionaries(required, optional=optional)


@functools.cache
def _anything_at_all() -> Any:
    from hypothesis import strategies

    # What `text()` has by default, which Hypothesis computes from the codec: for seconds, in each new directory.
    texts = strategies.text(strategies.characters(exclude_categories=["Cs"]))
    plain = strategies.sampled_from(_ODD) | texts | strategies.integers() | strategies.floats()
    return plain | strategies.lists(plain, max_size=3) | strategies.dictionaries(texts, plain, max_size=3)


def _request_of(method: Callable[..., Any], name: str, value: Any) -> Any:
    return hostile_requests(method, value)[name]


# --- results ----------------------------------------------------------------------------------------------------------


def problem_of(value: Any, kind: Any, place: str = "result") -> str:  # noqa: C901, PLR0911, PLR0912 - a table
    """Return in what *value* is not of the declared type *kind*, with its place; empty where it is."""
    kind = unnamed(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any or isinstance(kind, typing.TypeVar):
        return ""
    if origin in _UNIONS:
        problems = [problem_of(value, one, place) for one in arguments]
        return "" if "" in problems else f"{place}: {shown(value)} is no {_named(kind)}"
    if origin is Literal:
        return "" if value in arguments else f"{place}: {shown(value)} is none of {arguments}"
    if kind is None or kind is types.NoneType:
        return "" if value is None else f"{place}: {shown(value)} is not None"
    wanted = origin or kind
    if not isinstance(value, wanted) and not (wanted is float and type(value) is int):
        return f"{place}: {shown(value)} is no {_named(kind)}"
    if isinstance(value, bool) and wanted in {int, float}:
        return f"{place}: {shown(value)} is no {_named(kind)}"
    if isinstance(value, datetime) and value.tzinfo is None:
        return f"{place}: {value} has no time zone"
    if dataclasses.is_dataclass(wanted):
        hints: dict[str, Any] = _hints(wanted)  # type: ignore[arg-type] # a class is hashable
        parts = ((f"{place}.{name}", getattr(value, name), hint) for name, hint in hints.items())
    elif isinstance(value, Mapping):
        parts = ((f"{place}[{key!r}]", one, (arguments or (Any, Any))[-1]) for key, one in value.items())
    elif isinstance(value, tuple) and arguments and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            return f"{place}: {shown(value)} is no {_named(kind)}"
        parts = ((f"{place}[{index}]", one, arguments[index]) for index, one in enumerate(value))
    elif isinstance(value, list | tuple | set | frozenset):
        parts = ((f"{place}[{index}]", one, (arguments or (Any,))[0]) for index, one in enumerate(value))
    else:
        return ""
    return next((text for where, one, hint in parts if (text := problem_of(one, hint, where))), "")


@functools.cache
def _hints(model: Any) -> dict[str, Any]:
    """Declared types of the fields of a dataclass."""
    hints = get_type_hints(model)
    return {one.name: hints[one.name] for one in dataclasses.fields(model)}


def shown(value: Any) -> str:
    """Return the beginning of the repr of any value, hostile ones included."""
    try:
        return repr(value)[:80]
    except Exception:  # noqa: BLE001 - a hostile value raises for its own repr
        return f"a {type(value).__name__}"


def _named(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind)) if get_origin(kind) is None else str(kind)
