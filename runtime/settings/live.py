"""Settings that follow a file while the program runs."""

import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from middleware._internal.forks import renew_in_child
from middleware.errors import ConfigError
from middleware.stack import SettingsChange, StackSettings

from .resolution import EffectiveSetting, ResolvedSettings
from .sources import Services, read_file

__all__ = ["LiveSettings"]

_POLL_S = 1.0
_SECOND_LOOK_S = 0.2
"""Least time between the two looks that must see the same content of a file that is written in place."""
_SETTLED_S = 1.0
"""A file that has not been changed for this long is complete, and a later change has a time stamp of its own."""


class LiveSettings:
    """
    Settings that follow a file: a change is in force from the next call on; with a broken file the last good ones stay.

    The file is looked at on calls, at most once a second, so that no thread is needed that could die unseen. Its
    path is followed anew each time, which also sees an editor's atomic replacement and a mounted volume's swapped link.

    A file that is replaced is complete, and in force at once. One that is written in place is empty and then half there
    for a moment, which is valid TOML too: its content is in force once two looks have seen the same, or once it has not
    been changed for a second. An empty file is rejected like one that is gone, except at the start, where one look
    decides; a file with a comment alone returns to the defaults.

    Args:
        constructor: As for `ResolvedSettings`.
        environ: As for `ResolvedSettings`.
        file: The TOML file.
        defaults: As for `ResolvedSettings`.
        services: As for `ResolvedSettings`.
        wall_clock: Returns the time of the file system, in seconds since 1970.

    Attributes:
        problems: Why the file was rejected when it was last looked at; empty where what it says is in force.

    Raises:
        ConfigError: The first reading failed; there are no last good settings to fall back to.
    """

    def __init__(
        self,
        constructor: Mapping[str, Any] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        file: Path,
        defaults: Mapping[str, Any] | None = None,
        services: Services | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._constructor = constructor
        self._environ = dict(environ or {})
        self._file = file
        self._defaults = defaults
        self._services = services
        self._renew()
        renew_in_child(self._renew)
        self._wall_clock = wall_clock
        self._next_look = float("-inf")
        self.problems: tuple[str, ...] = ()
        self._unsettled: bytes | None = None  # seen once, and not in force yet: it may be half-written
        # The file that was last accepted or rejected, its content or problems, and whether the time stamp alone shows
        # that it has not changed since.
        self._seen = self._look()
        content = read_file(file)
        self._found = self._checked(content)
        self._is_settled = self._settled(self._seen)
        self._started_with = self.current = self._load(content)

    def _renew(self) -> None:
        self._lock = threading.Lock()  # in a child a thread of the parent may have acquired the old one

    def of(self, service: str, operation: str = "") -> StackSettings:
        """Settings in force now for an operation, or for the whole service."""
        return self.current.of(service, operation)

    def is_set(self, service: str, operation: str, name: str) -> bool:
        """Return whether the setting *name*, `section.field`, is given now for this operation itself."""
        return self.current.is_set(service, operation, name)

    def effective(self, service: str, operation: str = "") -> list[EffectiveSetting]:
        """Every setting in force now for an operation, with the origin of its value."""
        return self.current.effective(service, operation)

    def settings_hash(self, service: str) -> str:
        """As `ResolvedSettings.settings_hash`, of the settings in force now."""
        return self.current.settings_hash(service)

    def hashes(self) -> dict[str, str]:
        """As `ResolvedSettings.hashes`, of the settings in force now."""
        return self.current.hashes()

    def policy(self) -> dict[str, Any]:
        """As `ResolvedSettings.policy`, of the settings in force now."""
        return self.current.policy()

    def departures(self) -> tuple[str, ...]:
        """As `ResolvedSettings.departures`, of the settings in force now."""
        return self.current.departures()

    @property
    def shadowed(self) -> tuple[str, ...]:
        """One line per value of the file that a stronger source overrides."""
        return self.current.shadowed

    def contradictions(self) -> tuple[str, ...]:
        """One line for each contradiction among the settings in force now, with the place of each value."""
        return self.current.contradictions()

    def poll(self, now: float) -> SettingsChange | None:
        """Look at the file, at most once a second; return the effect of a change, to one caller, once."""
        if now < self._next_look or not self._lock.acquire(blocking=False):
            return None
        try:
            self._next_look = now + _POLL_S
            return self._follow(now)
        finally:
            self._lock.release()

    def _follow(self, now: float) -> SettingsChange | None:
        seen = self._look()
        if _same(seen, self._seen) and self._is_settled:
            return None
        found = self._read()
        if found == self._found:
            self._decide(seen, found)
            return None
        if isinstance(found, tuple):
            self._decide(seen, found)
            self.problems = found
            return SettingsChange(problems=found)  # R61: the last good settings stay, watching goes on
        if not self._is_complete(seen, found):
            self._next_look = now + _SECOND_LOOK_S
            return None
        self._decide(seen, found)
        change = self._apply(found)
        self.problems = () if change is None else change.problems
        return change

    def _read(self) -> bytes | tuple[str, ...]:
        """Return the content of the file, or the problems with it."""
        try:
            return self._checked(read_file(self._file))
        except ConfigError as error:
            return error.problems

    def _checked(self, content: bytes) -> bytes | tuple[str, ...]:
        return content if content.strip() else (f"{self._file}: is empty",)

    def _is_complete(self, seen: os.stat_result | None, content: bytes) -> bool:
        """Return whether *content* is all that will be in the file, as far as can be seen."""
        if seen is not None and not stat.S_ISREG(seen.st_mode):
            return True  # a pipe has an end of its own
        if content == self._unsettled:
            return True  # this is the second look
        self._unsettled = content
        if not _same(seen, self._look()):
            return False  # changed while it was read
        was_replaced = seen is not None and (self._seen is None or not os.path.samestat(seen, self._seen))
        return was_replaced or self._settled(seen)

    def _settled(self, seen: os.stat_result | None) -> bool:
        # By the time of the change, which no program can set, as `cp -p` does that of the modification.
        if seen is None or not stat.S_ISREG(seen.st_mode):
            return True
        return self._wall_clock() - seen.st_ctime >= _SETTLED_S

    def _decide(self, seen: os.stat_result | None, found: bytes | tuple[str, ...]) -> None:
        """Remember what is accepted or rejected now."""
        self._seen, self._found, self._unsettled = seen, found, None
        self._is_settled = self._settled(seen)

    def _apply(self, content: bytes) -> SettingsChange | None:
        try:
            fresh = self._load(content)
        except ConfigError as error:
            return SettingsChange(problems=error.problems)  # R61: as above
        changes = self.current.changes_to(fresh)
        fixed = [change for change in self._started_with.changes_to(fresh) if change.needs_restart]
        if fixed:  # connections are made once, by the settings of the start; half a reload would be none
            return SettingsChange(
                problems=tuple(f"{self._file}: {change}: needs a restart, nothing was changed" for change in fixed)
            )
        known = self.current.contradictions()
        self.current = fresh  # R61: one assignment; calls in flight keep the snapshot they began with
        if not changes and not fresh.shadowed:
            return None
        return SettingsChange(
            changes=tuple(map(str, changes)),
            scopes=tuple(dict.fromkeys(change.scope for change in changes)),
            shadowed=fresh.shadowed,
            contradictions=tuple(line for line in fresh.contradictions() if line not in known),
            hashes=fresh.hashes(),
            policy=fresh.policy(),
        )

    def _look(self) -> os.stat_result | None:
        try:
            return os.stat(self._file)  # noqa: PTH116 - one system call
        except OSError:
            return None

    def _load(self, content: bytes) -> ResolvedSettings:
        return ResolvedSettings(
            self._constructor,
            environ=self._environ,
            file=self._file,
            defaults=self._defaults,
            services=self._services,
            content=content,
        )


def _same(one: os.stat_result | None, other: os.stat_result | None) -> bool:
    """Return whether two looks saw the same file, unchanged."""
    if one is None or other is None:
        return one is other
    return os.path.samestat(one, other) and (one.st_ctime_ns, one.st_mtime_ns, one.st_size) == (
        other.st_ctime_ns,
        other.st_mtime_ns,
        other.st_size,
    )
