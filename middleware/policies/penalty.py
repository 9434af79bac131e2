"""For how long a service wants no requests of this key: the Retry-After that any process was given; pure arithmetic."""

__all__ = ["Penalty"]

_JITTER_SHARE, _JITTER_MAX_S = 0.1, 1.0  # R72: as of a retry's own wait (R15)
_NOTABLE_S = 0.25
"""A later end is worth a message to the others from this on: in a storm of 429 each one has an end of its own."""


class Penalty:
    """What is known now; the later end wins."""

    def __init__(self) -> None:
        self._until = float("-inf")
        self._length_s = 0.0
        self._too_long_since: float | None = None

    def left_s(self, now: float) -> float:
        """Return the seconds until its end; 0 where there is none."""
        return max(0.0, self._until - now)

    def jitter_s(self) -> float:
        """Return the longest time that is waited in addition."""
        return min(_JITTER_SHARE * self._length_s, _JITTER_MAX_S)

    def note(self, now: float, seconds: float) -> bool:
        """Note a penalty that lasts *seconds* from *now*; returns whether it ends notably later than what was known."""
        until, is_notable = now + seconds, now + seconds > max(self._until, now) + _NOTABLE_S
        if until > self._until:
            self._length_s = seconds if self._until <= now else self._length_s + until - self._until
            self._until = until
        return is_notable

    def note_shared(self, now: float, left_s: float, longest_s: float) -> None:
        """
        Note what the others share.

        Args:
            now: Clock reading.
            left_s: Seconds that are left of it; 0 for none.
            longest_s: A longer one is waited for so long from when it was first seen, and then ignored: its author may
                have other settings, or be none of ours.
        """
        if left_s <= longest_s:
            self._too_long_since = None
        else:
            if self._too_long_since is None:
                self._too_long_since = now
            left_s = self._too_long_since + longest_s - now
        if left_s > 0:
            self.note(now, left_s)
