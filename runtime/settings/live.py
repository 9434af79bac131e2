"""Settings that follow a file while the program runs."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from middleware._internal.forks import renew_in_child
from middleware.errors import ConfigError
from middleware.stack import SettingsChange, StackSettings

from .resolution import EffectiveSetting, ResolvedSettings
from .sources import Services

__all__ = ["LiveSettings"]

_POLL_S = 1.0


class LiveSettings:
    """
    Settings that follow a file: a change is in force from the next call on; with a broken file the last good ones stay.

    The file is looked at on calls, at most once a second, so that no thread is needed that could die unseen. Its
    path is followed anew each time, which also sees an editor's atomic replacement and a mounted volume's swapped link.

    Args:
        constructor: As for `ResolvedSettings`.
        environ: As for `ResolvedSettings`.
        file: The TOML file.
        services: As for `ResolvedSettings`.

    Raises:
        ConfigError: The first reading failed; there are no last good settings to fall back to.
    """

    def __init__(
        self,
        constructor: Mapping[str, Any] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        file: Path,
        services: Services | None = None,
    ) -> None:
        self._constructor = constructor
        self._environ = dict(environ or {})
        self._file = file
        self._services = services
        self._renew()
        renew_in_child(self._renew)
        self._next_look = float("-inf")
        self._seen = self._look()
        self.current = self._load()

    def _renew(self) -> None:
        self._lock = threading.Lock()  # in a child a thread of the parent may have acquired the old one

    def of(self, service: str, operation: str = "") -> StackSettings:
        """Settings in force now for an operation, or for the whole service."""
        return self.current.of(service, operation)

    def effective(self, service: str, operation: str = "") -> list[EffectiveSetting]:
        """Every setting in force now for an operation, with the origin of its value."""
        return self.current.effective(service, operation)

    def poll(self, now: float) -> SettingsChange | None:
        """Look at the file, at most once a second; return the effect of a change, to one caller, once."""
        if now < self._next_look or not self._lock.acquire(blocking=False):
            return None
        try:
            self._next_look = now + _POLL_S
            seen = self._look()
            if seen == self._seen:
                return None
            self._seen = seen
            try:
                fresh = self._load()
            except ConfigError as error:
                return SettingsChange(problems=error.problems)  # R61: the last good settings stay, watching goes on
            changes = self.current.changes_to(fresh)
            fixed = [change for change in changes if ".transport." in f".{change}"]
            if fixed:  # connections are made once; half a reload would be none
                return SettingsChange(
                    problems=tuple(f"{self._file}: {change}: needs a restart, nothing was changed" for change in fixed)
                )
            self.current = fresh  # R61: one assignment; calls in flight keep the snapshot they began with
            return SettingsChange(changes=changes) if changes else None
        finally:
            self._lock.release()

    def _look(self) -> tuple[int, ...] | None:
        try:
            status = os.stat(self._file)  # noqa: PTH116 - one system call
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _load(self) -> ResolvedSettings:
        return ResolvedSettings(self._constructor, environ=self._environ, file=self._file, services=self._services)
