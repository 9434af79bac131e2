"""What the tests of connectors need: arguments for any method, from its annotations."""

import dataclasses
import functools
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import get_origin, get_type_hints

from runtime.connectors import billing, discovery, hosting, identity, payment, service

MODULES = [billing, discovery, hosting, identity, payment, service]


def anything(kind):
    """Return a value that an argument of type *kind* accepts; where a word is expected, a valid one."""
    if dataclasses.is_dataclass(kind):
        hints, missing = get_type_hints(kind), dataclasses.MISSING
        needed = [field.name for field in dataclasses.fields(kind) if field.default is missing is field.default_factory]
        return kind(**{name: anything(hints[name]) for name in needed})
    return {Mapping: {}, dict: {}, list: [], Sequence: [], Iterable: [], int: 1}.get(
        get_origin(kind) or kind, "platform"
    )


def required_arguments(method):
    """Return a value for each argument of *method* that has no default."""
    return {name: anything(kind) for name, kind in _required(getattr(method, "__func__", method))}


@functools.cache
def _required(function):
    hints = get_type_hints(function)
    parameters = inspect.signature(function).parameters.values()
    needed = [one.name for one in parameters if one.default is inspect.Parameter.empty and one.name != "self"]
    return [(name, hints[name]) for name in needed]


def implementations(module):
    """Protocol, managed and mock of a connector module."""
    by_name = {name: kind for name, kind in vars(module).items() if name.endswith("Connector")}
    managed = next(kind for name, kind in by_name.items() if name.startswith("Managed"))
    mock = next(kind for name, kind in by_name.items() if name.startswith("Mock"))
    return by_name[managed.__name__.removeprefix("Managed")], managed, mock
