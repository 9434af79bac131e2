"""Functions that make the objects of each call, at a third of what calling their classes costs."""

from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, ParamSpec, TypeVar

__all__ = ["maker"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_NOT_GIVEN = object()


def maker(kind: Callable[_P, _T]) -> Callable[_P, _T]:
    """
    Return a function that makes instances of *kind*, a dataclass with slots, from keywords as the class does.

    To call a class, Python collects its keywords in a dictionary first; to call a function it does not. And the
    `__init__` of a frozen class sets each field by `object.__setattr__`, which looks it up by its name. Here a function
    sets the fields of an instance of a twin, which has the same slots and is not frozen, and which becomes one of
    *kind* at the end.

    `__post_init__` is not run.
    """
    known: dict[str, Any] = {"_new": object.__new__, "_kind": kind, "_twin": _twin(kind), "_not_given": _NOT_GIVEN}
    parameters, body = [], ["self = _new(_twin)"]
    for field in fields(kind):  # type: ignore[arg-type] # the caller passes a dataclass
        name = value = field.name
        if field.default_factory is not MISSING:
            known[f"_make_{name}"] = field.default_factory
            parameters.append(f"{name}=_not_given")
            value = f"_make_{name}() if {name} is _not_given else {name}"
        elif field.default is not MISSING:
            known[f"_default_{name}"] = field.default
            parameters.append(f"{name}=_default_{name}")
        else:
            parameters.append(name)
        body.append(f"self.{name} = {value}")
    if known["_twin"] is not kind:
        body.append("self.__class__ = _kind")
    lines = "\n ".join([*body, "return self"])
    exec(f"def make(*, {', '.join(parameters)}):\n {lines}", known)  # noqa: S102 - as `dataclass` does: names of fields alone
    make: Callable[_P, _T] = known["make"]
    make.__qualname__ = f"maker({kind.__qualname__})"
    return make


def _twin(kind: Any) -> Any:
    """
    Return a class with the slots of *kind* whose fields can be set; *kind* itself where they can.

    It has the bases of *kind*, without which Python would not let an object change from one to the other.
    """
    if not kind.__dataclass_params__.frozen:
        return kind
    content = {"__slots__": kind.__slots__, "__setattr__": object.__setattr__, "__module__": kind.__module__}
    return type(kind)(f"_{kind.__name__}", kind.__bases__, content)
