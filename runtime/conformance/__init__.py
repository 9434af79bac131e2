"""
Conformance of a connector, as tests that pytest generates: three lines in a test file.

    from acme_orders import ORDERS
    from runtime.conformance import Conformance

    orders = Conformance(ORDERS)

The plugin that collects them is installed with the runtime. Importing this module imports no connector, no pytest and
no hypothesis. docs/testing.md says what the tests assert.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

__all__ = ["Conformance", "Step"]


@dataclass(frozen=True)
class Step:
    """
    One call of a scenario.

    Attributes:
        operation: Name of the connector's method.
        arguments: Its arguments but token and correlation id; or a function of the results so far, by operation, that
            returns them.
    """

    operation: str
    arguments: Mapping[str, Any] | Callable[[Mapping[str, Any]], Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Conformance:
    """
    What is tested, as a global of a test file.

    Attributes:
        connector: The connector's declaration, a `runtime.connectors.registry.Connector`.
        arguments: Valid arguments by operation, where a value of the annotated type is not enough.
        documents: What the platform responds with, by operation, where the fields of the result do not say it.
        steps: A scenario that the reference gateway can play; mock and managed connector must have equivalent results.
        recorded: A file of responses that `recording` wrote; each must be read.
    """

    connector: Any
    arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    documents: Mapping[str, Any] = field(default_factory=dict)
    steps: Sequence[Step] = ()
    recorded: PathLike[str] | str | None = None
