"""
Both top-level names of this distribution, `runtime` and `middleware`, are generic: a host may have its own.

Python then silently imports whichever comes first on the path, and what fails later is hard to read. So both names are
checked when this package is imported, and a clash is told in one line.
"""

import importlib.util
import os

__all__ = ["check_names"]


def check_names():  # type: () -> None
    """
    Check that `middleware` is the package beside this one.

    Raises:
        ImportError: Another `middleware` comes first on the path.
    """
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        spec = importlib.util.find_spec("middleware")
    except ValueError:  # a module without a spec was put into sys.modules by hand
        spec = None
    found = os.path.dirname(os.path.abspath(spec.origin)) if spec is not None and spec.origin else "nowhere"
    if os.path.realpath(found) != os.path.realpath(os.path.join(home, "middleware")):
        raise ImportError(
            f"mozaiks-connector-runtime needs its own top-level package 'middleware' (beside {os.path.dirname(os.path.abspath(__file__))}), but that name is "
            f"taken by {found}: rename the other one or put this distribution first on sys.path"
        )
