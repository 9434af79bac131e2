"""
Settings that are valid one by one and contradict each other.

They are no errors: a program starts with them as it always did. One of the values has no effect, or another one than it
says, so each contradiction is logged once, at the start and when a reload brings a new one.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from .sources import EffectiveSetting

__all__ = ["contradictions"]


class _Rule(NamedTuple):
    """
    One contradiction.

    Attributes:
        names: The settings that contradict each other.
        applies: Returns whether they do, given all values by their names.
        effect: What the program does then.
    """

    names: tuple[str, ...]
    applies: Callable[[Mapping[str, Any]], bool]
    effect: str


_RULES = (
    _Rule(
        ("attempt.timeout_s", "deadline.total_s"),
        lambda of: of["attempt.timeout_s"] >= of["deadline.total_s"],
        "one attempt may take the whole deadline, so that no retry follows a hang",
    ),
    _Rule(
        ("retry.retry_after_max_s", "deadline.total_s"),
        lambda of: of["retry.retry_after_max_s"] >= of["deadline.total_s"],
        "the deadline ends a call before the longest Retry-After has passed",
    ),
    _Rule(
        ("hedging.delay_s", "attempt.timeout_s"),
        lambda of: of["hedging.max_hedges"] > 0 and of["hedging.delay_s"] >= of["attempt.timeout_s"],
        "an attempt times out before its first hedge starts",
    ),
    _Rule(
        ("retry.max_attempts", "hedging.max_hedges"),
        lambda of: of["hedging.max_hedges"] > 0 and of["retry.max_attempts"] == 1,
        "hedges count as attempts, so none starts",
    ),
    _Rule(
        ("budget.ratio", "budget.min_per_s", "retry.max_attempts"),
        lambda of: (
            of["budget.enabled"] and of["budget.ratio"] == of["budget.min_per_s"] == 0 and of["retry.max_attempts"] > 1
        ),
        "the budget allows no retry",
    ),
    _Rule(
        ("retry.base_delay_s", "retry.max_delay_s"),
        lambda of: of["retry.base_delay_s"] > of["retry.max_delay_s"],
        "every backoff has the highest ceiling",
    ),
    _Rule(
        ("retry.throttle_base_delay_s", "retry.throttle_max_delay_s"),
        lambda of: of["retry.throttle_base_delay_s"] > of["retry.throttle_max_delay_s"],
        "every backoff after throttling has the highest ceiling",
    ),
    _Rule(
        ("circuit_breaker.min_calls", "rate_limit.per_second", "circuit_breaker.window_s"),
        lambda of: (
            of["circuit_breaker.mode"] in {"normal", "shadow"}
            and 0 < of["rate_limit.per_second"] * of["circuit_breaker.window_s"] < of["circuit_breaker.min_calls"]
        ),
        "the rate limit allows fewer attempts in a window than the circuit breaker needs, so it never opens",
    ),
)


def contradictions(rows: Iterable[EffectiveSetting]) -> list[str]:
    """Return one line for each contradiction among the settings in force, with the place of each value."""
    by_name = {row.name: row for row in rows}
    values = {name: row.value for name, row in by_name.items()}
    return [
        f"{', '.join(_shown(by_name[name]) for name in rule.names)}: {rule.effect}"
        for rule in _RULES
        if rule.applies(values)
    ]


def _shown(row: EffectiveSetting) -> str:
    return f"{row.name} = {row.shown} ({row.origin})"
