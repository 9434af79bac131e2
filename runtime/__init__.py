"""
The connector runtime: connectors, their client and their loader.

Importing this package imports nothing third-party, reads no environment and opens nothing. It stays readable to old
interpreters, so that `python -m runtime` can print there in one line what it needs.
"""

from ._version import __version__

__all__ = ["__version__"]
