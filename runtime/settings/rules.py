"""
The rules of `config check`: their ids, and what each asks for.

ST1 are what reading finds; ST2 settings that contradict each other (R62), which a program logs at its start too; ST3
what settings do together with what is outside of them: attempts that fail, traffic, the service, gateways.
"""

from runtime._internal.findings import Rule, Severity

__all__ = ["RULES"]

_R62 = "R62: one of the values has no effect, or another one than it says."


def _rules(severity: Severity, source: str, *rows: tuple[str, str, str, str]) -> dict[str, Rule]:
    return {id_: Rule(id_, name, severity, source, why, remedy) for id_, name, why, remedy in rows}


RULES = {
    **_rules(
        Severity.ERROR,
        "Reading: a program with this does not start, and a reload with it is rejected (R60, R61).",
        (
            "ST101",
            "file-can-be-read",
            "No setting of the file is in force.",
            "Make the file readable, in UTF-8, and no larger than 64 KiB.",
        ),
        ("ST102", "file-is-toml", "No setting of the file is in force.", "Correct the syntax at that line."),
        (
            "ST103",
            "names-exist",
            "A name that nothing reads changes nothing, while its writer believes that it does.",
            "Correct the name; `config show` lists all names.",
        ),
        (
            "ST104",
            "sections-are-tables",
            "Settings are written in tables, `[section]` with `name = value`.",
            "Write a table, for example `[retry]`.",
        ),
        (
            "ST105",
            "values-fit",
            "The value has the wrong type or is out of bounds.",
            "Use a value within the bounds; `config schema` has those of each setting.",
        ),
        (
            "ST106",
            "shared-settings-are-the-services",
            "All operations of a service share what this setting is about, so one of them cannot have its own.",
            "Move it to the table of the service.",
        ),
        (
            "ST107",
            "mode-words-are-known",
            "A word that is not known would select the mocks of self-hosted mode, which allow everybody everything.",
            "Use one of the words that are listed.",
        ),
        (
            "ST108",
            "managed-mode-is-complete",
            "Without its URL, managed mode is asked for and not in force: mocks respond.",
            "Set MOZAIKS_GATEWAY_BASE_URL, or switch managed mode off.",
        ),
        (
            "ST109",
            "base-urls-are-usable",
            "No request can be sent to this URL.",
            "Write scheme and host, for example `https://gateway.example.com`.",
        ),
        (
            "ST110",
            "transport-can-be-made",
            "A file, a proxy or a library that the transport needs cannot be used, so no connection can be made.",
            "Correct the path or the file, or install the library.",
        ),
        (
            "ST111",
            "connectors-can-be-loaded",
            "Without its declaration, the names of a connector's settings are not known.",
            "Correct or uninstall the package that the entry point is of.",
        ),
    ),
    **_rules(
        Severity.WARNING,
        _R62,
        (
            "ST201",
            "an-attempt-is-shorter-than-its-call",
            "One attempt may take the whole deadline, so that no retry follows a hang.",
            "Lower attempt.timeout_s, so that two attempts fit into deadline.total_s.",
        ),
        (
            "ST202",
            "retry-after-fits-the-deadline",
            "The deadline ends a call before the longest Retry-After has passed.",
            "Lower retry.retry_after_max_s below deadline.total_s.",
        ),
        (
            "ST203",
            "a-hedge-starts-before-the-timeout",
            "An attempt times out before its first hedge starts.",
            "Lower hedging.delay_s below attempt.timeout_s, to about the 95th percentile of healthy latency.",
        ),
        (
            "ST204",
            "hedges-are-attempts",
            "Hedges count as attempts, so with one attempt none starts.",
            "Raise retry.max_attempts to 2 or more, or set hedging.max_hedges to 0.",
        ),
        (
            "ST205",
            "the-budget-allows-retries",
            "With ratio and least rate 0 the budget allows no retry.",
            "Raise budget.ratio or budget.min_per_s, or set retry.max_attempts to 1.",
        ),
        (
            "ST206",
            "backoff-is-below-its-ceiling",
            "A base above the ceiling makes every backoff the same.",
            "Lower retry.base_delay_s to retry.max_delay_s or less.",
        ),
        (
            "ST207",
            "throttled-backoff-is-below-its-ceiling",
            "A base above the ceiling makes every backoff after throttling the same.",
            "Lower retry.throttle_base_delay_s to retry.throttle_max_delay_s or less.",
        ),
        (
            "ST208",
            "the-rate-limit-feeds-the-breaker",
            "A circuit breaker that gets fewer attempts in a window than it needs never opens.",
            "Lower circuit_breaker.min_calls, or lengthen circuit_breaker.window_s.",
        ),
        (
            "ST209",
            "a-shared-quota-has-replicas",
            "While its server cannot be used each process keeps to quota.per_second / quota.replicas (R73).",
            "Set quota.replicas to the number of processes: workers times pods.",
        ),
    ),
    **_rules(
        Severity.WARNING,
        "What the settings in force do, per service and operation.",
        (
            "ST301",
            "calls-fit-the-plugins-time",
            "The core cancels a plugin after 30 s. A call that may take longer is cancelled instead of failing.",
            "Lower deadline.total_s below the time that the caller has.",
        ),
        (
            "ST302",
            "attempts-can-start",
            "After attempts that time out, less than retry.min_attempt_s remains before the deadline (R16).",
            "Lower attempt.timeout_s or retry.max_attempts, or raise deadline.total_s.",
        ),
        (
            "ST303",
            "refused-attempts-can-start",
            "The shortest waits between refused connections (R20) leave too little time before the deadline.",
            "Lower retry.not_sent_max_attempts or retry.not_sent_base_delay_s, or raise deadline.total_s.",
        ),
        (
            "ST304",
            "the-breaker-gets-enough-attempts",
            "With fewer attempts in a window than circuit_breaker.min_calls the circuit never opens (R32).",
            "Lower circuit_breaker.min_calls, or lengthen circuit_breaker.window_s.",
        ),
        (
            "ST305",
            "a-half-working-service-is-used",
            "Of a service that fails half of its attempts, retries get most calls through; an open circuit gets none.",
            "Raise circuit_breaker.failure_ratio above 0.5; the default is 0.7.",
        ),
        (
            "ST306",
            "the-circuit-closes-within-a-deadline",
            "A caller that repeats its call until its own deadline meets the same open circuit every time.",
            "Lower circuit_breaker.open_s to deadline.total_s or less.",
        ),
        (
            "ST307",
            "the-bulkhead-bounds-the-load",
            "Permits are per process. More of them than the service takes at a time do not bound its load.",
            "Lower bulkhead.permits to what the service takes per process, or switch bulkhead.adaptive on.",
        ),
        (
            "ST308",
            "the-key-is-documented",
            "A service that ignores Idempotency-Key applies a repeated write twice.",
            "Set idempotency.honors_key for the operations alone whose documentation has the key.",
        ),
    ),
    **_rules(
        Severity.NOTE,
        "R7: a request on a connection that its server closes at that moment is lost.",
        (
            "ST309",
            "connections-are-younger-than-idle-times",
            "A gateway that closes idle connections earlier than we do loses the request that is on its way.",
            "Set transport.keepalive_expiry_s to the idle time of the gateway before the platform or less.",
        ),
    ),
}
