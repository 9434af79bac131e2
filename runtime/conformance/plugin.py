"""
The pytest plugin: collects each `Conformance` of a test file as a class of tests.

Every run of pytest imports this module, so it imports nothing else until there is something to collect.
"""

import sys
from typing import Any

from . import Conformance

__all__ = ["pytest_pycollect_makeitem"]

_SUITE = "runtime.conformance.suite"


def pytest_pycollect_makeitem(collector: Any, name: str, obj: object) -> Any:
    """Collect *obj* where it is a `Conformance`."""
    if type(obj) is not Conformance:
        return None
    import pytest

    if _SUITE not in sys.modules:  # else pytest warns that it is too late
        pytest.register_assert_rewrite(_SUITE)
    from .suite import suite_of

    collected = pytest.Class.from_parent(collector, name=name)
    collected.obj = suite_of(obj)
    return collected
