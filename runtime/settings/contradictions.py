"""
Settings that are valid one by one, and do not do what they say: with each other, or with what is outside of them.

Those that contradict each other (R62) are no errors: a program starts with them as it always did. One of the values has
no effect, or another one than it says, so each contradiction is logged once, at the start and when a reload brings a
new one. What depends on `Facts` is found by `config check` alone. What each rule asks for is in `rules`.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from .sources import EffectiveSetting

__all__ = ["Contradiction", "Facts", "contradictions"]

_Values: TypeAlias = Mapping[str, Any]

_HALF = 0.5
_IDLE_TIMES_S = (
    ("Apache and Varnish", 5),
    ("HAProxy of Debian", 50),
    ("AWS load balancers", 60),
    ("nginx", 75),
    ("Kestrel", 130),
    ("Traefik", 180),
    ("Caddy", 300),
)
"""For how long servers keep an idle connection open, by their defaults; `docs/tuning.md` has the sources."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """
    What settings are compared with, in addition to each other.

    Attributes:
        budget_s: Time that the caller of a call has, in seconds.
        calls_per_s: Calls per second of one process; None where unknown.
        concurrency: Attempts that the service takes at a time, from all processes; None where unknown.
        processes: Number of processes.
        repeats: Whether attempts that may have been sent are repeated (R11): a read, or a write with an honoured key.
        documents_key: Whether the operation's documentation has Idempotency-Key; None where that is unknown, or where
            the operation needs none.
    """

    budget_s: float = 30.0
    calls_per_s: float | None = None
    concurrency: int | None = None
    processes: int = 1
    repeats: bool = True
    documents_key: bool | None = None


class Contradiction(NamedTuple):
    """
    One finding about settings in force.

    Attributes:
        rule: Id of the rule.
        rows: The settings, with the place of each value.
        effect: What the program does.
    """

    rule: str
    rows: tuple[EffectiveSetting, ...]
    effect: str

    def __str__(self) -> str:
        return f"{', '.join(f'{row.name} = {row.shown} ({row.origin})' for row in self.rows)}: {self.effect}"


class _Rule(NamedTuple):
    """
    One contradiction.

    Attributes:
        id: Id of the rule.
        names: The settings that contradict each other.
        applies: Returns whether they do, given all values by their names.
        effect: What the program does then.
    """

    id: str
    names: tuple[str, ...]
    applies: Callable[[_Values], bool]
    effect: str


class _Relation(NamedTuple):
    """
    One relation of settings and facts.

    Attributes:
        id: Id of the rule.
        names: The settings.
        effect: Returns what the program does, given all values by their names; empty where nothing is wrong.
    """

    id: str
    names: tuple[str, ...]
    effect: Callable[[_Values, Facts], str]


_RULES = (
    _Rule(
        "ST201",
        ("attempt.timeout_s", "deadline.total_s"),
        lambda of: of["attempt.timeout_s"] >= of["deadline.total_s"],
        "one attempt may take the whole deadline, so that no retry follows a hang",
    ),
    _Rule(
        "ST202",
        ("retry.retry_after_max_s", "deadline.total_s"),
        lambda of: of["retry.retry_after_max_s"] >= of["deadline.total_s"],
        "the deadline ends a call before the longest Retry-After has passed",
    ),
    _Rule(
        "ST203",
        ("hedging.delay_s", "attempt.timeout_s"),
        lambda of: of["hedging.max_hedges"] > 0 and of["hedging.delay_s"] >= of["attempt.timeout_s"],
        "an attempt times out before its first hedge starts",
    ),
    _Rule(
        "ST204",
        ("retry.max_attempts", "hedging.max_hedges"),
        lambda of: of["hedging.max_hedges"] > 0 and of["retry.max_attempts"] == 1,
        "hedges count as attempts, so none starts",
    ),
    _Rule(
        "ST205",
        ("budget.ratio", "budget.min_per_s", "retry.max_attempts"),
        lambda of: (
            of["budget.enabled"] and of["budget.ratio"] == of["budget.min_per_s"] == 0 and of["retry.max_attempts"] > 1
        ),
        "the budget allows no retry",
    ),
    _Rule(
        "ST206",
        ("retry.base_delay_s", "retry.max_delay_s"),
        lambda of: of["retry.base_delay_s"] > of["retry.max_delay_s"],
        "every backoff has the highest ceiling",
    ),
    _Rule(
        "ST207",
        ("retry.throttle_base_delay_s", "retry.throttle_max_delay_s"),
        lambda of: of["retry.throttle_base_delay_s"] > of["retry.throttle_max_delay_s"],
        "every backoff after throttling has the highest ceiling",
    ),
    _Rule(
        "ST208",
        ("circuit_breaker.min_calls", "rate_limit.per_second", "circuit_breaker.window_s"),
        lambda of: (
            _may_open(of)
            and 0 < of["rate_limit.per_second"] * of["circuit_breaker.window_s"] < of["circuit_breaker.min_calls"]
        ),
        "the rate limit allows fewer attempts in a window than the circuit breaker needs, so it never opens",
    ),
    _Rule(
        "ST209",
        ("quota.url", "quota.replicas"),
        lambda of: bool(of["quota.url"]) and of["quota.per_second"] > 0 and of["quota.replicas"] == 1,
        "while the server of the quota cannot be used, each process sends the whole quota",
    ),
)


def _may_open(of: _Values) -> bool:
    return of["circuit_breaker.mode"] in {"normal", "shadow"}


def _over_budget(of: _Values, facts: Facts) -> str:
    if of["deadline.total_s"] <= facts.budget_s:
        return ""
    return f"a call may take {of['deadline.total_s']:g} s, and its caller has {facts.budget_s:g} s"


def _never_started(of: _Values, facts: Facts) -> str:
    """After attempts that time out, with the shortest waits between them: none (R15, full jitter)."""
    timeout, total, least = of["attempt.timeout_s"], of["deadline.total_s"], of["retry.min_attempt_s"]
    if not facts.repeats or timeout >= total or of["hedging.max_hedges"]:  # ST201; hedges start before the timeout
        return ""
    started = math.ceil((total - least) / timeout)  # attempt n starts where (n - 1) * timeout + least < total
    if started >= of["retry.max_attempts"]:
        return ""
    return (
        f"attempt {started + 1} never starts after {_counted(started)} out: "
        f"{started} x {timeout:g} s leave less than {least:g} s of {total:g} s"
    )


def _counted(attempts: int) -> str:
    return "one that timed" if attempts == 1 else f"{attempts} that timed"


def _never_started_when_refused(of: _Values, _facts: Facts) -> str:
    """With the shortest waits between refused connections: half of each ceiling (R20)."""
    if of["retry.max_attempts"] == 1:
        return ""  # refused connections count as all others
    total, least = of["deadline.total_s"], of["retry.min_attempt_s"]
    waited = 0.0
    for refused in range(1, of["retry.not_sent_max_attempts"]):
        ceiling = min(of["retry.not_sent_max_delay_s"], of["retry.not_sent_base_delay_s"] * 2 ** (refused - 1))
        waited += ceiling / 2
        if waited + least >= total:
            return (
                f"attempt {refused + 1} never starts after {refused} refused connections: "
                f"the waits are {waited:g} s at least, of {total:g} s"
            )
    return ""


def _inert_breaker(of: _Values, facts: Facts) -> str:
    if facts.calls_per_s is None or not _may_open(of):
        return ""
    window, rate = of["circuit_breaker.window_s"], facts.calls_per_s
    calls = rate * window
    retries = calls * (of["retry.max_attempts"] - 1) if facts.repeats else 0.0
    if of["budget.enabled"]:  # R18: in each length of the budget's window
        allowed = of["budget.ttl_s"] * (of["budget.min_per_s"] + of["budget.ratio"] * rate)
        retries = min(retries, allowed * math.ceil(window / of["budget.ttl_s"]))
    if calls + retries >= of["circuit_breaker.min_calls"]:
        return ""
    repeated = "with all retries" if retries else "since none is repeated"
    return (
        f"{rate:g} calls/s are at most {calls + retries:g} attempts in {window:g} s, {repeated}; the circuit breaker "
        f"needs {of['circuit_breaker.min_calls']}, so it never opens, even if every call times out"
    )


def _opens_early(of: _Values, _facts: Facts) -> str:
    ratio = of["circuit_breaker.failure_ratio"]
    if of["circuit_breaker.mode"] != "normal" or ratio > _HALF:
        return ""
    return f"a service that fails {ratio:.0%} of its attempts gets an open circuit, so that all calls fail"


def _open_too_long(of: _Values, _facts: Facts) -> str:
    if of["circuit_breaker.mode"] != "normal" or of["circuit_breaker.open_s"] <= of["deadline.total_s"]:
        return ""
    return "the circuit stays open for longer than a call may take"


def _bounds_nothing(of: _Values, facts: Facts) -> str:
    permits = of["bulkhead.permits"]
    if facts.concurrency is None or of["bulkhead.adaptive"] or permits * facts.processes <= facts.concurrency:
        return ""
    return (
        f"{permits} permits x {facts.processes} processes let {permits * facts.processes} attempts through at a time, "
        f"and the service takes {facts.concurrency}"
    )


def _idles_too_long(of: _Values, _facts: Facts) -> str:
    kept = of["transport.keepalive_expiry_s"]
    shorter = [f"{name} ({idle} s)" for name, idle in _IDLE_TIMES_S if idle < kept]
    return f"connections idle for longer than the default of {', '.join(shorter)}" if shorter else ""


def _undocumented_key(of: _Values, facts: Facts) -> str:
    if not of["idempotency.honors_key"] or facts.documents_key is not False:
        return ""
    return "writes are repeated with an Idempotency-Key that the operation's documentation does not have"


_RELATIONS = (
    _Relation("ST301", ("deadline.total_s",), _over_budget),
    _Relation("ST302", ("retry.max_attempts", "attempt.timeout_s", "deadline.total_s"), _never_started),
    _Relation("ST303", ("retry.not_sent_max_attempts", "deadline.total_s"), _never_started_when_refused),
    _Relation("ST304", ("circuit_breaker.min_calls", "circuit_breaker.window_s"), _inert_breaker),
    _Relation("ST305", ("circuit_breaker.failure_ratio",), _opens_early),
    _Relation("ST306", ("circuit_breaker.open_s", "deadline.total_s"), _open_too_long),
    _Relation("ST307", ("bulkhead.permits",), _bounds_nothing),
    _Relation("ST308", ("idempotency.honors_key",), _undocumented_key),
    _Relation("ST309", ("transport.keepalive_expiry_s",), _idles_too_long),
)


def contradictions(rows: Iterable[EffectiveSetting], facts: Facts | None = None) -> list[Contradiction]:
    """
    Return what is wrong with the settings in force.

    Args:
        rows: All settings, each with the place of its value.
        facts: What they are compared with in addition; None finds only those that contradict each other.
    """
    by_name = {row.name: row for row in rows}
    values = {name: row.value for name, row in by_name.items()}
    found = [(rule.id, rule.names, rule.effect) for rule in _RULES if rule.applies(values)]
    if facts is not None:
        effects = [(one, one.effect(values, facts)) for one in _RELATIONS]
        found += [(one.id, one.names, effect) for one, effect in effects if effect]
    return [Contradiction(id_, tuple(by_name[name] for name in names), effect) for id_, names, effect in found]
