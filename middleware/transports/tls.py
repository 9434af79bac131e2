"""TLS: the one context of a transport, from the files that the settings name."""

import asyncio
import ssl
import threading

import httpx

from middleware.errors import ConfigError

from .transport_settings import TransportSettings

__all__ = ["TlsContext"]


class TlsContext:
    """
    The one TLS context that all connections of a transport share.

    Args:
        config: The settings.

    Raises:
        ConfigError: A file of the settings cannot be used; names the setting.
    """

    def __init__(self, config: TransportSettings) -> None:
        self._lock = threading.Lock()
        private = config.ca_file or config.client_certificate_file or config.client_key_file
        # At construction where it can fail; else on first use: loading takes 35 ms, which plain HTTP need not spend.
        self._context = _private_context(config) if private else None

    async def get(self) -> ssl.SSLContext:
        """Return the context; the public authorities are loaded on first use, in a worker thread."""
        return await asyncio.to_thread(self._load) if self._context is None else self._context

    def _load(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = httpx.create_ssl_context(trust_env=False)
            return self._context


def _private_context(config: TransportSettings) -> ssl.SSLContext:
    try:
        public = not config.ca_file
        context = (
            httpx.create_ssl_context(trust_env=False) if public else ssl.create_default_context(cafile=config.ca_file)
        )
    except OSError as error:
        raise ConfigError(f"TransportSettings.ca_file: cannot be used: {error}") from None
    if config.client_key_file and not config.client_certificate_file:
        raise ConfigError("TransportSettings.client_key_file: needs client_certificate_file")
    if config.client_certificate_file:
        key_file = config.client_key_file or None
        try:
            context.load_cert_chain(config.client_certificate_file, key_file, password=_no_passphrase)
        except (OSError, ValueError) as error:
            names = "TransportSettings.client_certificate_file, client_key_file"
            raise ConfigError(f"{names}: cannot be used: {error}") from None
    return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")  # else OpenSSL would ask for it on the terminal
