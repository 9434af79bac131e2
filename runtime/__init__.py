"""
The connector runtime: connectors, their client and their loader.

Importing this package imports nothing third-party, reads no environment and opens nothing.
"""

from ._names import check_names
from ._version import __version__

__all__ = ["__version__"]

check_names()
