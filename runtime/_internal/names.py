"""
Both top-level names of this distribution, `runtime` and `middleware`, are generic: a host may have its own.

Python silently imports whichever comes first on the path, and what fails later is hard to read. So importing the
connectors checks the other name, and a clash is reported in one line.
"""

import importlib.util
from pathlib import Path

__all__ = ["check_names"]


def check_names() -> None:
    """
    Check that `middleware` is the package next to this one.

    Raises:
        ImportError: Another `middleware` comes first on the path.
    """
    expected = Path(__file__).resolve().parents[2] / "middleware"
    try:
        spec = importlib.util.find_spec("middleware")
    except ValueError:  # put into sys.modules by hand, without a spec
        spec = None
    found = Path(spec.origin).resolve().parent if spec is not None and spec.origin else None
    if found != expected:
        raise ImportError(
            f"the connector runtime needs its own top-level package 'middleware' ({expected}), but that name is taken "
            f"by {found or 'another module'}: rename the other one, or put this distribution first on sys.path"
        )
