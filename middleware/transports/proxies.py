"""The proxies that the environment names, and which of them a URL needs."""

import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

from middleware.errors import ConfigError

from .transport_settings import TransportSettings

__all__ = ["env_proxies", "proxy_for"]


def env_proxies(config: TransportSettings) -> dict[str, str]:
    """
    Return the proxies of the environment by scheme; none unless the settings enable them.

    Raises:
        ConfigError: One is not an HTTP proxy. The text does not show it: it may contain a password.
    """
    if not config.trust_env:
        return {}
    found = urllib.request.getproxies()
    proxies = {scheme: found.get(scheme) or found.get("all", "") for scheme in ("http", "https")}
    proxies = {scheme: url if "://" in url else f"http://{url}" for scheme, url in proxies.items() if url}
    for scheme, url in proxies.items():
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:  # urlsplit rejects the port or the IPv6 address
            usable = False
        if not usable:
            raise ConfigError(
                f"TransportSettings.trust_env: the environment's proxy for {scheme} is not an http(s) URL"
            )
    return proxies


def proxy_for(proxies: Mapping[str, str], url: str) -> str | None:
    """Return the one of *proxies* to use for the origin of *url*; None for a direct connection."""
    parts = urlsplit(url)
    proxy = proxies.get(parts.scheme)
    return None if proxy is None or urllib.request.proxy_bypass(parts.netloc) else proxy
