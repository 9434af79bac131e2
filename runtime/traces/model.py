"""
Traces, grouped from spans, and the rows that show a trace: one model for the terminal, the page and the demo.

It reads spans only, not the calls that made them: what is shown is what a backend gets.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from middleware.telemetry import semconv

from .calls import Call, is_attempt, is_call, state_of, what_happened
from .trace_file import Span, SpanEvent

__all__ = [
    "Attempt",
    "CallTrace",
    "Row",
    "Trace",
    "call_traces",
    "clock_text",
    "count_text",
    "how_often",
    "rows_of",
    "step_text",
    "time_text",
    "tone_of",
    "traces_of",
    "zone_text",
]

_LARGEST = 1e9


@dataclass(kw_only=True)
class Attempt:
    """A CLIENT span: one attempt. Times in seconds after the call's start."""

    span_id: str
    name: str
    start_s: float
    end_s: float
    status: int | None
    error_type: str
    resend_count: int
    request_sent: str


@dataclass(kw_only=True)
class CallTrace:
    """A call's span with its attempts and events."""

    trace_id: str
    span_id: str
    name: str
    correlation_id: str
    duration_s: float
    outcome: str
    error_type: str
    stop_reason: str
    attempts: list[Attempt]
    events: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Return the call as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One line of a trace's picture; times in seconds after the trace's start.

    Attributes:
        depth: 0 for a root.
        kind: `call`, `attempt`, `span`, `wait`, `event` or `stop`.
        label: What it is.
        text: How it ended, or what it says.
        tone: `good`, `recovered`, `slow`, `bad`, `unsure`, `wait`, `note` or `plain`.
        start_s: Start.
        end_s: End; equal to the start for what has no duration.
        details: Names and values, for the details view.
    """

    depth: int
    kind: str
    label: str
    text: str
    tone: str
    start_s: float
    end_s: float
    details: tuple[tuple[str, str], ...] = ()


class Trace:
    """
    All spans of one trace id, by their start.

    Attributes:
        trace_id: 32 hexadecimal digits.
        spans: The spans.
        start_ns: Start of the first.
        duration_s: Seconds from there to the end of the last.
        calls: Number of spans that are calls of connectors.
        attempts: Number of spans that are attempts of those calls.
        retries: Number of attempts that were followed by a retry.
        has_events: True when a span has events.
        failed: True when a call or a root ended with an error.
        correlation_ids: Ids to search the platform's logs for.
        medians: Median duration of operations, in seconds, where it is known: what is slow is slow for its operation.
    """

    def __init__(self, trace_id: str, spans: Iterable[Span], medians: Mapping[str, float] | None = None) -> None:
        self.trace_id = trace_id
        self.medians = medians or {}
        self.spans = sorted(spans, key=lambda span: (span.start_ns, -span.end_ns))
        self.start_ns = self.spans[0].start_ns
        self.duration_s = (max(span.end_ns for span in self.spans) - self.start_ns) / 1e9
        known = {span.span_id for span in self.spans}
        self.roots = [span for span in self.spans if span.parent_id not in known]
        calls = {span.span_id for span in self.spans if is_call(span)}
        self.calls = len(calls)
        self.attempts = sum(span.parent_id in calls and span.kind == "CLIENT" for span in self.spans)
        self.retries = sum(event.name == semconv.EVENT_RETRY_SCHEDULED for span in self.spans for event in span.events)
        self.has_events = any(span.events for span in self.spans)
        self.failed = any(span.status == "ERROR" for span in [*filter(is_call, self.spans), *self.roots])
        ids = (str(span.attributes.get(semconv.CORRELATION_ID, "")) for span in self.spans)
        self.correlation_ids = list(dict.fromkeys(filter(None, ids)))

    @property
    def name(self) -> str:
        """Name of the first root, and how many others there are."""
        names = [span.name for span in self.roots] or [self.spans[0].name]
        return names[0] + (f" +{len(names) - 1}" if len(names) > 1 else "")

    @property
    def outcome(self) -> str:
        """States of its calls, with what failed them; for one without calls the status of its root."""
        found = [_look(self, span)[2] for span in self.spans if is_call(span)]
        return ", ".join(dict.fromkeys(filter(None, found))) or ("failure" if self.failed else "")

    @property
    def tone(self) -> str:
        """Tone of the worst of its calls."""
        found = {_look(self, span)[3] for span in self.spans if is_call(span)}
        worst = next((tone for tone in ("bad", "unsure", "slow", "recovered", "good") if tone in found), "plain")
        return "bad" if self.failed and worst != "unsure" else worst


def time_text(seconds: float) -> str:
    """Return a duration as text for people."""
    if seconds < 0.01:  # noqa: PLR2004 - below it, whole milliseconds are too coarse
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def step_text(step_ns: int) -> str:
    """Return the length of a step of time in its largest unit."""
    seconds = step_ns // 1_000_000_000
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def clock_text(at_ns: int, *, parts: int = 0) -> str:
    """
    Return the time of day, in this machine's time zone.

    Args:
        at_ns: Nanoseconds since 1970.
        parts: Digits of the second's fraction, up to 6.
    """
    text = datetime.fromtimestamp(at_ns // 1000 / 1e6).astimezone().strftime("%H:%M:%S.%f")
    return text[: 9 + parts] if parts else text[:8]


def zone_text(at_ns: int) -> str:
    """Return the name of this machine's time zone as it is, or was, at that time."""
    return datetime.fromtimestamp(at_ns / 1e9).astimezone().tzname() or ""


def count_text(number: int, what: str) -> str:
    """Return a number of things: `1 call`, `2 calls`."""
    return f"{number} {what}{'s' * (number != 1)}"


def how_often(trace: Trace) -> list[str]:
    """Return what is not as usual, which is one call, one attempt and no retry."""
    found = []
    if trace.calls > 1:
        found.append(count_text(trace.calls, "call"))
    if trace.attempts != trace.calls:
        found.append("no attempt" if not trace.attempts else count_text(trace.attempts, "attempt"))
    if trace.retries:
        found.append("1 retry" if trace.retries == 1 else f"{trace.retries} retries")
    return found


def traces_of(spans: Iterable[Span], medians: Mapping[str, float] | None = None) -> list[Trace]:
    """Group *spans* into traces, in the order in which they started; *medians* as of `Trace`."""
    grouped: dict[str, dict[str, Span]] = defaultdict(dict)
    for span in spans:
        grouped[span.trace_id][span.span_id] = span  # by id: a file may contain a batch twice
    return sorted(
        (Trace(trace_id, found.values(), medians) for trace_id, found in grouped.items()),
        key=lambda trace: trace.start_ns,
    )


def call_traces(spans: Iterable[Span]) -> list[CallTrace]:
    """Group *spans* into calls, in the order in which they started."""
    ordered = sorted(spans, key=lambda span: span.start_ns)
    calls: dict[str, tuple[Span, CallTrace]] = {}
    for span in ordered:
        if not is_call(span):
            continue
        attributes = span.attributes
        calls[span.span_id] = (
            span,
            CallTrace(
                trace_id=span.trace_id,
                span_id=span.span_id,
                name=span.name,
                correlation_id=attributes.get(semconv.CORRELATION_ID, ""),
                duration_s=(span.end_ns - span.start_ns) / 1e9,
                outcome=attributes.get(semconv.OUTCOME, ""),
                error_type=attributes.get(semconv.ERROR_TYPE, ""),
                stop_reason=attributes.get(semconv.STOP_REASON, ""),
                attempts=[],
                events=[
                    {"name": event.name, "at_s": (event.at_ns - span.start_ns) / 1e9, **event.attributes}
                    for event in span.events
                ],
            ),
        )
    for span in ordered:
        if span.kind != "CLIENT" or span.parent_id not in calls:
            continue
        parent, call = calls[span.parent_id]
        attributes = span.attributes
        call.attempts.append(
            Attempt(
                span_id=span.span_id,
                name=span.name,
                start_s=(span.start_ns - parent.start_ns) / 1e9,
                end_s=(span.end_ns - parent.start_ns) / 1e9,
                status=attributes.get(semconv.HTTP_RESPONSE_STATUS_CODE),
                error_type=attributes.get(semconv.ERROR_TYPE, ""),
                resend_count=attributes.get(semconv.HTTP_REQUEST_RESEND_COUNT, 0),
                request_sent=attributes.get(semconv.REQUEST_SENT, ""),
            )
        )
    return [call for _, call in calls.values()]


def rows_of(trace: Trace) -> list[Row]:
    """Return the rows of *trace*, from the top: each span, below it its events and children, by time."""
    children: dict[str, list[Span]] = defaultdict(list)
    for span in trace.spans:
        children[span.parent_id].append(span)
    rows: list[Row] = []
    shown: set[str] = set()
    # A stack, not recursion: a file may contain any depth, and spans that are each other's parents.
    tops = {span.span_id for span in trace.roots}
    leftovers = [span for span in trace.spans if span.span_id not in tops]
    pending: list[tuple[int, Span | Row]] = [(0, span) for span in reversed([*trace.roots, *leftovers])]
    while pending:
        depth, item = pending.pop()
        if isinstance(item, Row):
            rows.append(item)
            continue
        if item.span_id in shown:
            continue
        shown.add(item.span_id)
        rows.append(_span_row(trace, item, depth))
        below: list[tuple[float, float, Span | Row]] = [
            (_after(trace, child.start_ns), 2 * _attempt_number(child), child) for child in children[item.span_id]
        ]
        below += [(row.start_s, place, row) for place, row in _event_rows(trace, item, depth + 1)]
        below.sort(key=lambda entry: entry[:2])
        pending += [(depth + 1, entry) for _, _, entry in reversed(below)]
    return rows


def _after(trace: Trace, at_ns: int) -> float:
    return (at_ns - trace.start_ns) / 1e9


# Units of attributes whose names do not say them.
_UNITS = {
    semconv.RETRY_DELAY: "s",
    semconv.RETRY_AFTER: "s",
    semconv.RETRY_BUDGET_BALANCE: "retries",
    semconv.BULKHEAD_WAIT: "s",
    semconv.QUOTA_WAIT: "s",
    semconv.QUOTA_PENALTY: "s",
    semconv.HEDGE_DELAY: "s",
    semconv.DEADLINE: "s",
    "http.request.body.size": "bytes",
    "http.response.body.size": "bytes",
}


def _details(attributes: Iterable[tuple[str, Any]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, _value_text(name, value)) for name, value in attributes)


def _value_text(name: str, value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"{text} {_UNITS[name]}" if name in _UNITS and isinstance(value, int | float) else text


def _span_row(trace: Trace, span: Span, depth: int) -> Row:
    attributes = dict(span.attributes)
    if span.message:
        attributes["status.message"] = span.message
    kind, label, text, tone = _look(trace, span)
    return Row(
        depth=depth,
        kind=kind,
        label=label,
        text=text,
        tone=tone,
        start_s=_after(trace, span.start_ns),
        end_s=_after(trace, span.end_ns),
        details=_details([("span", span.span_id), *attributes.items()]),
    )


def tone_of(state: str) -> str:
    """Return the tone of a call's state."""
    tones = {"success": "good", "recovered": "recovered", "slow": "slow", "unknown": "unsure", "cancelled": "plain"}
    return tones.get(state, "bad")


def _look(trace: Trace, span: Span) -> tuple[str, str, str, str]:
    """Return kind, label, text and tone of a span's row."""
    attributes = span.attributes
    error = what_happened(span)
    if is_call(span):
        state = state_of(Call(span), trace.medians.get(span.name))
        usual = f", usually {time_text(trace.medians[span.name])}" if state == "slow" else ""
        return "call", span.name, f"{state}: {error}" if error else state + usual, tone_of(state)
    if is_attempt(span):
        number = _attempt_number(span)
        hedge = " (hedge)" if attributes.get(semconv.IS_HEDGE) else ""
        outcome = str(attributes[semconv.ATTEMPT_OUTCOME])
        response = error or str(attributes.get(semconv.HTTP_RESPONSE_STATUS_CODE, outcome))
        tone = "bad" if error else "plain" if outcome == "cancelled" else "good"
        return "attempt", f"attempt {number}{hedge}", f"{span.name.partition(' ')[0]} {response}", tone
    where = f"{span.kind.lower()} {span.service}".strip()
    return "span", span.name, f"{where}: {error}" if error else where, "bad" if span.status == "ERROR" else "plain"


def _attempt_number(span: Span) -> int:
    return int(_number(span.attributes.get(semconv.HTTP_REQUEST_RESEND_COUNT))) + 1


def _event_rows(trace: Trace, span: Span, depth: int) -> Iterator[tuple[float, Row]]:
    """Yield the rows of events, each with its place among what is at the same time: attempt n has the place 2n."""
    for event in span.events:
        yield _place(event), _event_row(trace, event, depth)
    said = {semconv.EVENT_RETRY_ABANDONED, semconv.EVENT_DEADLINE_REACHED}  # which say the same
    if semconv.STOP_REASON in span.attributes and not any(event.name in said for event in span.events):
        end_s = _after(trace, span.end_ns)
        yield (
            math.inf,
            Row(
                depth=depth,
                kind="stop",
                label="stopped",
                text=str(span.attributes[semconv.STOP_REASON]),
                tone="plain",
                start_s=end_s,
                end_s=end_s,
            ),
        )


def _number(value: Any) -> float:
    """Return a number of a span; 0 where a third-party span has another value in its place."""
    return float(value) if isinstance(value, int | float) and 0 <= value < _LARGEST else 0.0


def _figure(value: Any) -> str:
    return f"{_number(value):.3g}" if isinstance(value, int | float) else str(value)


def _why_waited(attributes: Mapping[str, Any]) -> str:
    after = attributes.get(semconv.RETRY_AFTER)
    return "backoff" if after is None else f"Retry-After {_figure(after)} s"


def _why_rejected(attributes: Mapping[str, Any]) -> str:
    after = attributes.get(semconv.RETRY_AFTER)
    return f"by {attributes.get(semconv.GUARD)}" + ("" if after is None else f" for {_figure(after)} s more")


def _why_waited_for_quota(attributes: Mapping[str, Any]) -> str:
    text = f"{attributes.get(semconv.QUOTA_SOURCE)} quota"
    penalty = attributes.get(semconv.QUOTA_PENALTY)
    return text if penalty is None else f"{text}, {_figure(penalty)} s of it for a Retry-After"


def _quota_source(attributes: Mapping[str, Any]) -> str:
    reason = attributes.get(semconv.QUOTA_REASON)
    return f"{attributes.get(semconv.QUOTA_SOURCE)}" + (f", server {reason}" if reason else "")


# Label and text of an event's row; the text is made from the event's attributes.
_EVENT_TEXTS: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    semconv.EVENT_RETRY_SCHEDULED: ("wait", _why_waited),
    semconv.EVENT_QUEUED: ("queued", lambda _attributes: "bulkhead"),
    semconv.EVENT_QUOTA_WAITED: ("wait", _why_waited_for_quota),
    semconv.EVENT_QUOTA_SOURCE_CHANGED: ("quota", _quota_source),
    semconv.EVENT_CIRCUIT_STATE_CHANGED: (
        "circuit breaker",
        lambda attributes: (
            f"{attributes.get(semconv.CIRCUIT_BREAKER_FROM)} → {attributes.get(semconv.CIRCUIT_BREAKER_TO)}"
        ),
    ),
    semconv.EVENT_REJECTED: ("rejected", _why_rejected),
    semconv.EVENT_CIRCUIT_REJECTED: ("rejected", _why_rejected),
    semconv.EVENT_RETRY_ABANDONED: ("no retry", lambda attributes: str(attributes.get(semconv.STOP_REASON))),
    semconv.EVENT_BUDGET_EXHAUSTED: (
        "retry budget",
        lambda attributes: f"{_figure(attributes.get(semconv.RETRY_BUDGET_BALANCE))} left",
    ),
    semconv.EVENT_HEDGE_STARTED: (
        "hedge",
        lambda attributes: f"started after {_figure(attributes.get(semconv.HEDGE_DELAY))} s",
    ),
    semconv.EVENT_HEDGE_REFUSED: ("hedge", lambda attributes: f"not started: {attributes.get(semconv.HEDGE_REFUSAL)}"),
    semconv.EVENT_HEDGE_WON: ("hedge", lambda _attributes: "first response"),
    semconv.EVENT_CORRELATION_ID_MISMATCHED: (
        "another call's response",
        lambda attributes: str(attributes.get(semconv.CORRELATION_ID_RECEIVED)),
    ),
    semconv.EVENT_DEADLINE_REACHED: (
        "deadline",
        lambda attributes: f"{_figure(attributes.get(semconv.DEADLINE))} s exceeded",
    ),
}


_BEFORE_ATTEMPTS = {
    semconv.EVENT_QUEUED,
    semconv.EVENT_QUOTA_WAITED,
    semconv.EVENT_QUOTA_SOURCE_CHANGED,
    semconv.EVENT_HEDGE_STARTED,
}


def _place(event: SpanEvent) -> float:
    if event.name in _BEFORE_ATTEMPTS:
        return 0
    attempt = _number(event.attributes.get(semconv.RETRY_ATTEMPT))  # that failed, and is retried or not
    return 2 * attempt + 1 if attempt else math.inf


_WAITS = {semconv.EVENT_QUEUED: semconv.BULKHEAD_WAIT, semconv.EVENT_QUOTA_WAITED: semconv.QUOTA_WAIT}


def _event_row(trace: Trace, event: SpanEvent, depth: int) -> Row:
    attributes = event.attributes
    start_s = end_s = _after(trace, event.at_ns)
    kind, tone = "event", "note"
    if event.name == semconv.EVENT_RETRY_SCHEDULED:  # emitted before the wait
        kind, tone, end_s = "wait", "wait", start_s + _number(attributes.get(semconv.RETRY_DELAY))
    elif event.name in _WAITS:  # emitted after the wait
        kind, tone, start_s = "wait", "wait", max(0.0, end_s - _number(attributes.get(_WAITS[event.name])))
    label, say = _EVENT_TEXTS.get(event.name, (event.name, lambda attributes: ", ".join(map(str, attributes.values()))))
    return Row(
        depth=depth,
        kind=kind,
        label=label,
        text=say(attributes),
        tone=tone,
        start_s=start_s,
        end_s=end_s,
        details=_details([("event", event.name), *attributes.items()]),
    )
