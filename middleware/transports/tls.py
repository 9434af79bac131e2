"""TLS: the one context of a transport, from the files that the settings name, read again when they change."""

import logging
import os
import ssl
from collections.abc import Callable
from contextlib import suppress

import httpx

from middleware._internal.loggers import LibraryLogger
from middleware._internal.single_flight import SingleFlight
from middleware.clock import SystemClock
from middleware.errors import ConfigError, RequestNotSentError

from .exhaustion import as_exhausted, out_of_resources
from .transport_settings import TransportSettings

__all__ = ["TlsContext"]

_LOOK_EVERY_S = 1.0

_log_lines = LibraryLogger("mozaiks.connectors.tls")


class TlsContext:
    """
    The one TLS context that all new connections of a transport share.

    Certificates are renewed in place, by a job or in a mounted volume. The files are looked at when a connection needs
    the context, at most once a second; where one has changed, connections that are opened from then on use what is in
    it. While the files cannot be used, for example half written, the last good context stays in use.

    Args:
        config: The settings.
        now: Source of time, read on event loops alone; None takes the system's.

    Raises:
        ConfigError: A file of the settings cannot be used; names the setting and the path.
    """

    def __init__(self, config: TransportSettings, now: Callable[[], float] | None = None) -> None:
        self._config = config
        self._now = now or SystemClock().now
        self._loads: SingleFlight[None] = SingleFlight()
        self._files = [
            file for file in (config.ca_file, config.client_certificate_file, config.client_key_file) if file
        ]
        self._next_look = float("-inf")
        self._rejected = ""
        self._seen = self._look()
        # At construction where it can fail; else on first use: loading takes 35 ms, which plain HTTP need not spend.
        self._context = _context(config) if self._files else None

    async def get(self) -> ssl.SSLContext:
        """
        Return the context; what takes long is done in a thread.

        Raises:
            OutOfResourcesError: This process lacks descriptors, memory or threads for loading it.
            RequestNotSentError: The public authorities cannot be loaded.
        """
        if self._context is None or (self._files and self._is_changed()):
            try:
                await self._loads.run("tls", self._load)
            except (OSError, MemoryError) as error:
                exhausted = as_exhausted(error)
                if self._context is None and exhausted is not None:
                    raise out_of_resources(exhausted) from None
        if self._context is None:
            raise RequestNotSentError("the public certificate authorities cannot be loaded")
        return self._context

    def _is_changed(self) -> bool:
        now = self._now()
        if now < self._next_look:
            return False
        self._next_look = now + _LOOK_EVERY_S
        return self._look() != self._seen

    def _look(self) -> list[tuple[int, ...] | None]:
        return [_version(file) for file in self._files]

    def _load(self) -> None:
        seen = self._look()  # before the files are read: a change in between is seen the next time
        try:
            self._context = _context(self._config)
        except ConfigError as error:  # and read again at the next look
            reason = str(error)
            if reason != self._rejected:
                _log(logging.WARNING, "tls.rejected", reason)
            self._rejected = reason
        else:
            if self._files:
                _log(logging.INFO, "tls.reloaded", ", ".join(self._files))
            self._seen, self._rejected = seen, ""


def _log(level: int, event: str, reason: str) -> None:
    with suppress(Exception):  # a host's handler that raises changes no call
        _log_lines.log(level, f"{event} {reason}", {"event": event, "reason": reason})


def _version(file: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(file)  # noqa: PTH116 - one system call
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _context(config: TransportSettings) -> ssl.SSLContext:
    if config.client_key_file and not config.client_certificate_file:
        raise ConfigError("TransportSettings.client_key_file: needs client_certificate_file")
    for name in ("ca_file", "client_certificate_file", "client_key_file"):
        _check_readable(name, getattr(config, name))
    if config.ca_file:
        try:
            context = ssl.create_default_context(cafile=config.ca_file)
        except (OSError, ValueError) as error:
            raise _unusable("ca_file", config.ca_file, error) from None
    else:
        context = httpx.create_ssl_context(trust_env=False)
    # Early releases of Python 3.11 set it, and take an end that anyone on the way can cause for the peer's.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if config.client_certificate_file:
        key_file = config.client_key_file or None
        try:
            context.load_cert_chain(config.client_certificate_file, key_file, password=_no_passphrase)
        except (OSError, ValueError) as error:
            paths = config.client_certificate_file + (f", {key_file}" if key_file else "")
            raise _unusable("client_certificate_file", paths, error) from None
    return context


def _check_readable(name: str, file: str) -> None:
    """TLS says which file it could not open neither by name nor by path."""
    if file:
        try:
            os.close(os.open(file, os.O_RDONLY))
        except (OSError, ValueError) as error:
            raise _unusable(name, file, error) from None


def _unusable(name: str, paths: str, error: Exception) -> ConfigError:
    reason = f"[Errno {error.errno}] {error.strerror}" if isinstance(error, OSError) and error.filename else error
    return ConfigError(f"TransportSettings.{name}: cannot be used: {paths}: {reason}")


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")  # else OpenSSL would ask for it on the terminal
