"""Random ids."""

from random import Random, SystemRandom

from .forks import renew_in_child

__all__ = ["new_id"]

_random = Random()  # noqa: S311 - ids, not secrets


def _seed() -> None:
    _random.seed(SystemRandom().getrandbits(256))


_seed()
renew_in_child(_seed)  # else all children would make the same ids


def new_id() -> str:
    """
    Return a new UUID of version 4 (RFC 9562 section 5.4) as text.

    From a generator that the operating system's randomness seeds: a third of the cost of `uuid.uuid4`, which asks the
    operating system for each. Such ids are unique, and can be guessed by who has seen hundreds of them.
    """
    text = f"{_random.getrandbits(128) & _OTHER_BITS | _VERSION_AND_VARIANT:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_VERSION_AND_VARIANT = 0x4000_8000_0000_0000_0000
_OTHER_BITS = ~0xF000_C000_0000_0000_0000
