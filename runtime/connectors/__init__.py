"""Connectors to the platform's services, the client they speak through, and the loader of the bundle."""

from runtime._internal.names import check_names

__all__: list[str] = []

check_names()
