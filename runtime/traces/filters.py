"""Which calls are meant: by time, service, operation, outcome, duration and status; and how these are written."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from .calls import Call, state_of

__all__ = ["OUTCOMES", "CallFilter", "parse_duration", "parse_time"]

OUTCOMES = ("success", "recovered", "failure", "unknown", "cancelled")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(ms|s|min|m|h|d)")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d{1,6})?))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """
    Which calls are meant; what is empty or None means all.

    Attributes:
        since_ns: Earliest start, in nanoseconds since 1970.
        until_ns: Start that is too late.
        services: Services.
        operations: Operations, with or without their service: `get_user`, `identity.get_user`.
        outcomes: Of `OUTCOMES`; `success` means without a retry.
        statuses: Statuses of any attempt, or of the call: `503`, `5xx`.
        min_duration_s: Least duration.
        settings_hash: Digits of the settings that were in force.
    """

    since_ns: int | None = None
    until_ns: int | None = None
    services: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    min_duration_s: float = 0.0
    settings_hash: str = ""

    def accepts(self, call: Call) -> bool:
        """Is *call* meant?"""
        start_ns = call.span.start_ns
        return (
            (self.since_ns is None or start_ns >= self.since_ns)
            and (self.until_ns is None or start_ns < self.until_ns)
            and (not self.services or call.service in self.services)
            and (not self.operations or bool({call.operation, call.operation.partition(".")[2]} & set(self.operations)))
            and (not self.outcomes or state_of(call) in self.outcomes)
            and (not self.settings_hash or call.settings_hash == self.settings_hash)
            and call.duration_s >= self.min_duration_s
            and (not self.statuses or any(call.has_status(status) for status in self.statuses))
        )


def parse_duration(text: str) -> float:
    """
    Return the seconds of `250ms`, `1.5s`, `10m`, `2h` or `1d`.

    Raises:
        ValueError: *text* is none of these.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"must be a duration, such as 250ms, 1.5s, 10m or 2h; got {text!r}")
    return float(found[1]) * _UNITS[found[2]]


def parse_time(text: str, *, oldest_ns: int, newest_ns: int) -> int:
    """
    Return the point in time, in nanoseconds since 1970, that *text* names.

    Args:
        text: A clock time of this machine's time zone, `14:00` or `14:00:20`, of the day of the newest call, or of the
            day before, where the file does not reach so far; a date and a time, `2026-11-28T14:00`, with or without
            an offset or Z; or a duration before the newest call, `10m`.
        oldest_ns: Start of the oldest call.
        newest_ns: Start of the newest one.

    Raises:
        ValueError: *text* is none of these.
    """
    clock = _CLOCK.fullmatch(text)
    try:
        if clock is not None:
            newest = datetime.fromtimestamp(newest_ns / 1e9).astimezone()
            seconds = float(clock[3] or 0)
            at = newest.replace(
                hour=int(clock[1]),
                minute=int(clock[2]),
                second=int(seconds),
                microsecond=round(seconds % 1 * 1e6) % 1_000_000,
            )
            earlier = at - timedelta(days=1)
            if at > newest and earlier.timestamp() * 1e9 >= oldest_ns - 1e9:
                at = earlier
            return round(at.timestamp() * 1e6) * 1000
        if _DURATION.fullmatch(text):
            return newest_ns - int(parse_duration(text) * 1e9)
        return round(datetime.fromisoformat(text).astimezone().timestamp() * 1e6) * 1000
    except (ValueError, OverflowError):
        raise ValueError(
            f"must be a time, such as 14:00, 14:00:20 or 2026-11-28T14:00, or a duration, such as 10m; got {text!r}"
        ) from None
