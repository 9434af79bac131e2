"""Where requests go: origins of URLs, in the forms that connections need."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from .proxies import proxy_for

__all__ = ["DEFAULT_PORTS", "Origin", "Origins"]

DEFAULT_PORTS = {"http": 80, "https": 443}
"""The port of each scheme (RFC 9110 section 4.2)."""


class Origin(NamedTuple):
    """
    Where a request goes.

    Attributes:
        scheme: `http` or `https`.
        host: Name or address, without brackets.
        port: Also where the URL names none.
        host_header: Value of the Host header.
        proxy: URL of the proxy to use; None for a direct connection.
    """

    scheme: str
    host: str
    port: int
    host_header: str
    proxy: str | None


class Origins:
    """
    The origins of one transport, each made once.

    Args:
        proxies: Proxies by scheme, as `env_proxies` returns them.
    """

    def __init__(self, proxies: Mapping[str, str]) -> None:
        self._proxies = proxies
        self._known: dict[str, Origin] = {}

    def split(self, url: str) -> tuple[Origin, str]:
        """Return the origin of *url*, and its target."""
        slash = url.find("/", len("https://"))
        text = url[:slash]
        origin = self._known.get(text)
        if origin is None:
            origin = self._known[text] = self._make(text)
        return origin, url[slash:]

    def _make(self, text: str) -> Origin:
        parts = urlsplit(text)
        # equivalent: `'~'`: a base URL without a host is rejected earlier
        host, default = parts.hostname or "", DEFAULT_PORTS[parts.scheme]
        shown = f"[{host}]" if ":" in host else host
        return Origin(
            scheme=parts.scheme,
            host=host,
            port=parts.port or default,
            host_header=shown if parts.port in {None, default} else f"{shown}:{parts.port}",
            proxy=proxy_for(self._proxies, text),
        )
