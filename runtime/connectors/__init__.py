"""Connectors to the platform's services, the HTTP client they use, and the loader of the bundle."""

from runtime._internal.names import check_names

__all__: list[str] = []

check_names()
