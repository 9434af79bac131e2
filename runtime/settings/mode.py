"""
Which mode the environment asks for, and why.

The rule is the core's own: managed mode needs a switch and the gateway's URL. Either switch is enough; anything less is
self-hosted mode. The core reads a word that it does not know as off. Here it is an error, since the mocks of
self-hosted mode allow everybody everything.
"""

from collections.abc import Mapping
from typing import NamedTuple

from middleware.settings import got

from .sources import REQUIRE_VARIABLE, Problem, switch

__all__ = ["CORE_URL", "GATEWAY_URL", "HOSTING_MODE", "MANAGED", "Mode", "mode_of"]

HOSTING_MODE = "MOZAIKS_HOSTING_MODE"
MANAGED = "MOZAIKS_MANAGED"
GATEWAY_URL = "MOZAIKS_GATEWAY_BASE_URL"
CORE_URL = "MOZAIKS_CORE_BASE_URL"

_HOSTED = "hosted"
_HOSTING_MODES = frozenset({_HOSTED, "self_host", "self_hosted", ""})


class Mode(NamedTuple):
    """
    What the environment asks for.

    Attributes:
        managed: True for managed mode.
        reason: Why, for people; names variables and no values.
        incomplete: A switch is on, and the gateway's URL is missing.
        required: Anything but managed mode is to be an error.
    """

    managed: bool
    reason: str
    incomplete: bool = False
    required: bool = False


def mode_of(environ: Mapping[str, str], found: list[str]) -> Mode:
    """Read the mode from *environ*; each word that is no word of its variable goes into *found*, and counts as off."""
    hosting_mode = environ.get(HOSTING_MODE, "").strip()
    if hosting_mode.lower() not in _HOSTING_MODES:
        reason = f"must be hosted, self_host, self_hosted or empty, {got(hosting_mode)}"
        found.append(Problem("ST107", HOSTING_MODE, reason))
    switches = [
        *([f"{HOSTING_MODE} is {_HOSTED}"] if hosting_mode.lower() == _HOSTED else []),
        *([f"{MANAGED} is on"] if _is_on(environ, MANAGED, found) else []),
    ]
    has_url = bool(environ.get(GATEWAY_URL, "").strip())
    reason = " and ".join(switches) or f"neither {HOSTING_MODE} nor {MANAGED} switches managed mode on"
    if switches:
        reason += f", and {GATEWAY_URL} is set" if has_url else f", but {GATEWAY_URL} is not set"
    return Mode(
        managed=bool(switches) and has_url,
        reason=reason,
        incomplete=bool(switches) and not has_url,
        required=_is_on(environ, REQUIRE_VARIABLE, found),
    )


def _is_on(environ: Mapping[str, str], name: str, found: list[str]) -> bool:
    text = environ.get(name, "").strip()
    try:
        return bool(text) and switch(text)
    except ValueError:
        found.append(Problem("ST107", name, f"must be 1, true, yes, y, on, 0, false, no, n, off or empty, {got(text)}"))
        return False
