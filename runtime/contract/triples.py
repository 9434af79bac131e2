"""Finds the connectors in files: Protocol, managed class and mock of each."""

import ast
import re
from dataclasses import dataclass

from .source import Class, Module, Sources, is_base

__all__ = ["Triple", "triples"]

_NAME = re.compile(r"(Managed|Mock)(\w+)Connector")


@dataclass(frozen=True, eq=False)
class Triple:
    """
    One connector; a class that was not found is None.

    Attributes:
        service: The part of the names that its classes share.
        module: The file that defines it.
        protocol: Its interface.
        managed: Its managed class.
        mock: Its mock.
    """

    service: str
    module: Module
    protocol: Class | None
    managed: Class | None
    mock: Class | None

    @property
    def first(self) -> Class:
        """The class that a finding about the whole connector names."""
        found = self.managed or self.mock or self.protocol
        assert found is not None  # noqa: S101 - for the type checker: a triple is made from its classes
        return found


def triples(sources: Sources, module: Module) -> list[Triple]:
    """Return the connectors that *module* defines, by the names of their classes and by its declarations."""
    found: dict[str, dict[str, Class]] = {}
    for kind in module.classes:
        if match := _NAME.fullmatch(kind.node.name):
            found.setdefault(match[2], {})[match[1]] = kind
    for protocol, managed, mock in _declared(sources, module):
        if managed and managed.module is module:
            match = _NAME.fullmatch(managed.node.name)
            parts = found.setdefault(match[2] if match else managed.node.name.removesuffix("Connector"), {})
            parts["Managed"] = managed
            parts.update(
                {name: one for name, one in (("Mock", mock), ("Protocol", protocol)) if one and name not in parts}
            )
    result = []
    for service, parts in found.items():
        classes = {
            name: parts.get(name) or _named(sources, module, f"{name}{service}Connector")
            for name in ("Managed", "Mock")
        }
        protocol = parts.get("Protocol") or _named(sources, module, f"{service}Connector")
        if "Managed" in parts or not classes["Managed"]:  # else that file defines the connector
            result.append(Triple(service, module, protocol, classes["Managed"], classes["Mock"]))
    return result


def _named(sources: Sources, module: Module, name: str) -> Class | None:
    found = sources.lookup(module, name)
    if isinstance(found, Class):
        return found
    # In a file next to this one that imports this one, or is imported by it.
    for other in sources.helpers(module):
        for kind in other.classes:
            if kind.node.name == name:
                return kind
    return None


def _declared(sources: Sources, module: Module) -> list[tuple[Class | None, Class | None, Class | None]]:
    """Classes of each `name: Connector[Protocol] = Connector(…, Managed, Mock)`."""
    found = []
    for node in (*module.all(ast.AnnAssign), *module.all(ast.Assign)):
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call):
            call, hint = node.value, node.annotation
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            call, hint = node.value, None
        else:
            continue
        if not is_base(sources.dotted(module, call.func), "Connector"):
            continue
        keywords = {one.arg: one.value for one in call.keywords}
        values = [*call.args, None, None, None]
        managed, mock = keywords.get("managed", values[1]), keywords.get("mock", values[2])
        interface = hint.slice if isinstance(hint, ast.Subscript) else None
        classes = [sources.resolve(module, one) for one in (interface, managed, mock)]
        first, second, third = [one if isinstance(one, Class) else None for one in classes]
        found.append((first, second, third))
    return found
