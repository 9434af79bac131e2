"""What is logged, at which level, by whose configuration."""

import io
import json
import logging
import re
import uuid
from dataclasses import replace

import pytest
import structlog
from forked import run_forked
from layer_support import a_request

from middleware import CircuitOpenError, NotFoundError, ServerError
from middleware import events as facts
from middleware.records import AttemptRecord
from middleware.telemetry import logs, semconv
from middleware.telemetry.logs import ATTEMPT_LOGGER_NAME, LOGGER_NAME, LogListener
from runtime.gateway import Fault

CALL = a_request().call.info
ERROR = ServerError("503 response", status=503, retry_after_s=2.0)
OUTCOME = a_request().call.outcome(1.0)
RECORD = AttemptRecord(number=1, started_s=0, ended_s=1, outcome="ok", status=200, request_sent="yes", delay_s=0)

LINES = [
    (facts.CallFinished(call=CALL, outcome=OUTCOME, error=None), "DEBUG", "call.succeeded"),
    (facts.CallFinished(call=CALL, outcome=OUTCOME, error=None, cancelled=True), "DEBUG", "call.cancelled"),
    (facts.CallFinished(call=CALL, outcome=OUTCOME, error=ERROR), "WARNING", "call.failed"),
    (facts.AttemptFinished(call=CALL, record=RECORD, error=None), "DEBUG", "attempt.finished"),
    (facts.AttemptRejected(call=CALL, guard="bulkhead"), "DEBUG", "attempt.rejected"),
    (facts.RetryScheduled(call=CALL, attempt=1, delay_s=0.5, error=ERROR), "INFO", "retry.scheduled"),
    (facts.RetryBudgetExhausted(call=CALL, balance=0.5, first=True), "WARNING", "retry_budget.exhausted"),
    (facts.RetryBudgetExhausted(call=CALL, balance=0.5, first=False), "DEBUG", "retry_budget.exhausted"),
    (facts.HedgeStarted(call=CALL, hedge=1, delay_s=0.1), "DEBUG", "hedge.started"),
    (facts.CircuitStateChanged(call=CALL, breaker="svc", before="closed", after="open"), "WARNING", "circuit_breaker.state_changed"),
    (facts.QuotaAcquired(call=CALL, source="shared", waited_s=0.2, penalty_s=0.1), "DEBUG", "quota.acquired"),
    (facts.QuotaSourceChanged(call=CALL, source="local", reason="timeout"), "WARNING", "quota.source_changed"),
    (facts.CorrelationIdMismatched(call=CALL, received="9d8b"), "WARNING", "correlation_id.mismatched"),
    (facts.CorrelationIdReplaced(call=CALL), "WARNING", "correlation_id.replaced"),
    (facts.SettingsReloaded(call=CALL, changes=("retry.max_attempts: 3 -> 5",)), "INFO", "settings.reloaded"),
    (facts.SettingsRejected(call=CALL, problems=("retry.max_attempts: too high",)), "ERROR", "settings.rejected"),
    (facts.SettingsContradictory(call=CALL, contradictions=("a: b",)), "WARNING", "settings.contradictory"),
]  # fmt: skip


IDS = [f"{type(event).__name__}-{level}-{name}" for event, level, name in LINES]
LEVELS = [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL]


def test_every_kind_of_line_is_among_the_examples():
    """Found in the code, so that a new kind cannot go without an example, and so without the tests below."""
    kinds = {kind for kind in vars(logs).values() if isinstance(kind, logs._Kind)}
    assert {logs._KIND_OF[type(event)](event) for event, _, _ in LINES} == kinds
    assert {type(event) for event, _, _ in LINES} == LogListener().event_types == set(logs._KIND_OF)
    assert {name for _, _, name in LINES} == {
        text for constant, text in vars(semconv).items() if constant.startswith("LOG_")
    }


@pytest.mark.parametrize(("event", "level", "name"), LINES, ids=IDS)
def test_each_line_has_its_level(caplog, event, level, name):
    """Success DEBUG, retry INFO, failure WARNING; ERROR for unusable settings alone."""
    caplog.set_level(logging.DEBUG, LOGGER_NAME)
    LogListener()(event)
    (record,) = caplog.records
    assert record.levelname == level
    assert record.event == name
    assert record.correlation_id == "c-1"
    assert record.service == "svc"
    assert record.operation == "op"


def by_stdlib(out, level):
    """A host that has set the level of the root alone, as most do."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(event)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(level)


def by_structlog(out, level):
    """A host whose structlog filters by itself."""
    structlog.configure(
        processors=[lambda _logger, _method, line: line["event"]],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(out),
    )


def by_structlog_over_stdlib(out, level):
    """A host whose structlog asks the standard library for the level, and writes by it."""
    handler = logging.StreamHandler(out)
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(level)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, lambda _logger, _method, line: line["event"]],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


@pytest.fixture
def no_logging_set_up():
    """The root as it was, and no structlog, afterwards."""
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    yield
    structlog.reset_defaults()
    root.setLevel(before[0])
    root.handlers[:] = before[1]


@pytest.mark.parametrize("order", ["before", "after the listener was made", "after the first line"])
@pytest.mark.parametrize(
    "set_up", [by_stdlib, by_structlog, by_structlog_over_stdlib], ids=lambda value: value.__name__
)
@pytest.mark.parametrize(("event", "level", "name"), LINES, ids=IDS)
def test_a_line_is_written_exactly_when_its_own_level_is_enabled(no_logging_set_up, event, level, name, set_up, order):
    """At every level of the host, by both systems, whenever the host sets them up."""
    for enabled in LEVELS:
        out = io.StringIO()
        structlog.reset_defaults()
        listener = None
        if order != "before":
            listener = LogListener()
        if order == "after the first line":
            listener(event)
        set_up(out, enabled)
        (listener or LogListener())(event)
        expected = [name] if logging.getLevelName(level) >= enabled else []
        assert out.getvalue().split() == expected, enabled
        logging.getLogger().handlers[:] = []


ORDERS = """
import asyncio, io, json, logging, sys
system, order, level = sys.argv[1:]

def set_up():
    if system == "stdlib":
        logging.basicConfig(level=level, stream=sys.stdout, format="%(event)s")
        return
    import structlog
    structlog.configure(
        processors=[lambda _logger, _method, line: line["event"]],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
    )

if order == "before the import":
    set_up()
from runtime.testing import ScriptedUpstream, run_virtual
logging.getLogger("asyncio").setLevel("CRITICAL")
client = ScriptedUpstream([], then=503).client()
if order == "after the import":
    set_up()

async def calls(number):
    for _ in range(number):
        try:
            await client.get("/x")
        except Exception:
            pass

run_virtual(calls(1))
if order == "after the first call":
    set_up()
run_virtual(calls(30))
"""


@pytest.mark.sockets
@pytest.mark.parametrize("order", ["before the import", "after the import", "after the first call"])
@pytest.mark.parametrize("system", ["stdlib", "structlog"])
@pytest.mark.parametrize("level", ["INFO", "WARNING"])
def test_failures_are_written_whenever_the_host_sets_logging_up(system, order, level):
    """At the levels that hosts run with, in a process of its own."""
    result = run_forked(ORDERS, system, order, level)
    assert (result.returncode, result.stderr) == (0, "")
    expected = {"call.failed", "circuit_breaker.state_changed"} | ({"retry.scheduled"} if level == "INFO" else set())
    assert set(result.stdout.split()) == expected


FAILED = facts.CallFinished(call=CALL, outcome=replace(OUTCOME, attempts=3), error=ERROR)
REFUSED = facts.CallFinished(call=CALL, outcome=OUTCOME, error=CircuitOpenError("open"))
SUMMARIES = [
    (facts.CallFinished(call=CALL, outcome=replace(OUTCOME, attempts=1), error=None), "call.succeeded svc.op after 1 attempt"),
    (facts.CallFinished(call=CALL, outcome=OUTCOME, error=None, cancelled=True), "call.cancelled svc.op after 0 attempts"),
    (FAILED, "call.failed svc.op 503 after 3 attempts"),
    (REFUSED, "call.failed svc.op CircuitOpenError after 0 attempts"),
    (facts.AttemptFinished(call=CALL, record=RECORD, error=None), "attempt.finished svc.op attempt 1 ok 200"),
    (
        facts.AttemptFinished(call=CALL, record=replace(RECORD, number=2, outcome="cancelled", status=None), error=None),
        "attempt.finished svc.op attempt 2 cancelled",
    ),
    (facts.AttemptRejected(call=CALL, guard="bulkhead"), "attempt.rejected svc.op by bulkhead"),
    (
        facts.RetryScheduled(call=CALL, attempt=1, delay_s=0.123456, error=ERROR),
        "retry.scheduled svc.op attempt 1 503, next one in 0.123 s",
    ),
    (facts.RetryBudgetExhausted(call=CALL, balance=0.45678, first=True), "retry_budget.exhausted svc 0.457 retries left"),
    (facts.HedgeStarted(call=CALL, hedge=1, delay_s=2.0), "hedge.started svc.op hedge 1 after 2 s"),
    (
        facts.CircuitStateChanged(call=CALL, breaker="svc", before="closed", after="open"),
        "circuit_breaker.state_changed svc closed -> open",
    ),
    (facts.CorrelationIdReplaced(call=CALL), "correlation_id.replaced svc.op"),
    (facts.SettingsReloaded(call=CALL, changes=("a: 3 -> 5",)), "settings.reloaded svc 1 change"),
    (
        facts.SettingsReloaded(call=CALL, changes=("a: 3 -> 5", "x.b: 1 -> 2"), scopes=("all services", "x"), shadowed=("c",)),
        "settings.reloaded 2 changes of all services, x, 1 value shadowed",
    ),
    (facts.SettingsReloaded(call=CALL, changes=(), shadowed=("c", "d")), "settings.reloaded svc 0 changes, 2 values shadowed"),
    (facts.SettingsRejected(call=CALL, problems=("a: 100% wrong", "b")), "settings.rejected svc 2 problems"),
    (facts.SettingsContradictory(call=CALL, contradictions=("a: b",)), "settings.contradictory svc 1 contradiction"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "message"), SUMMARIES, ids=lambda value: value if isinstance(value, str) else "")
def test_the_standard_librarys_message_begins_with_the_name_and_says_what_happened(caplog, event, message):
    """A host that formats the message alone learns what happened; the bare name is a field."""
    caplog.set_level(logging.DEBUG, LOGGER_NAME)
    LogListener()(event)
    (record,) = caplog.records
    assert (record.getMessage(), record.event) == (message, message.split()[0])


@pytest.mark.parametrize(("event", "level", "name"), LINES, ids=IDS)
def test_no_id_and_no_text_from_outside_is_in_a_message(caplog, event, level, name):
    """Only in fields: a formatter may mask what it takes for an id, and a reader trusts the message."""
    outside = "Zq7-outside"
    call = replace(CALL, correlation_id=outside)
    changed = {"call": call}
    if hasattr(event, "error") and event.error is not None:
        changed["error"] = ServerError(outside, status=503)
    for name_of_texts in {"changes", "problems"} & set(type(event).__dataclass_fields__):
        changed[name_of_texts] = (outside,)
    caplog.set_level(logging.DEBUG, LOGGER_NAME)
    LogListener(lambda: {"trace_id": outside})(replace(event, **changed))
    (record,) = caplog.records
    assert outside not in record.getMessage()
    assert record.correlation_id == outside


async def test_the_lines_of_attempts_have_a_level_of_their_own(make_client, gateway, caplog):
    """One line per call: their logger at INFO, the other one at DEBUG."""
    caplog.set_level(logging.INFO, ATTEMPT_LOGGER_NAME)
    caplog.set_level(logging.DEBUG, LOGGER_NAME)
    gateway.script(Fault(kind="status"))
    await make_client().get("/api/service/items", path_params={})
    assert [(record.name, record.event) for record in caplog.records] == [
        (LOGGER_NAME, "retry.scheduled"),
        (LOGGER_NAME, "call.succeeded"),
    ]


ENDED = replace(
    OUTCOME,
    attempts=2,
    elapsed_s=1.23456789,
    stop_reason="budget",
    request_sent="maybe",
    already_deleted=False,
    answered_by="gateway",
)
ENDS = {"attempts": 2, "elapsed_s": 1.234568, "platform_correlation_id": ""}
ATTEMPTS = "mozaiks.connectors.attempts"
CALLS = "mozaiks.connectors"
LOGGED = [
    (facts.CallFinished(call=CALL, outcome=ENDED, error=None), CALLS, {**ENDS, "outcome": "success"}),
    (facts.CallFinished(call=CALL, outcome=ENDED, error=None, cancelled=True), CALLS, {**ENDS, "outcome": "cancelled"}),
    (
        facts.CallFinished(call=CALL, outcome=ENDED, error=ERROR),
        CALLS,
        {**ENDS, "outcome": "failure", "error_type": "503", "reason": "503 response", "stop_reason": "budget", "request_sent": "maybe", "answered_by": "gateway", "origin": []},
    ),
    (
        facts.AttemptFinished(call=CALL, record=replace(RECORD, started_s=1, ended_s=2.23456789), error=None),
        ATTEMPTS,
        {"attempt": 1, "attempt_outcome": "ok", "status": 200, "request_sent": "yes", "answered_by": "", "duration_s": 1.234568, "is_hedge": False, "platform_correlation_id": ""},
    ),
    (facts.AttemptRejected(call=CALL, guard="x", retry_after_s=3.0), ATTEMPTS, {"guard": "x", "retry_after_s": 3.0}),
    (
        facts.RetryScheduled(call=CALL, attempt=1, delay_s=0.12345678, error=ERROR, budget_balance=7.0),
        CALLS,
        {"attempt": 1, "delay_s": 0.123457, "error_type": "503", "retry_after_s": 2.0, "budget_balance": 7.0},
    ),
    (facts.RetryBudgetExhausted(call=CALL, balance=0.45678, first=True), CALLS, {"balance": 0.457}),
    (facts.HedgeStarted(call=CALL, hedge=1, delay_s=0.12345678), ATTEMPTS, {"hedge": 1, "delay_s": 0.123457}),
    (
        facts.CircuitStateChanged(call=CALL, breaker="svc", before="closed", after="open"),
        CALLS,
        {"breaker": "svc", "state_before": "closed", "state_after": "open"},
    ),
    (facts.CorrelationIdMismatched(call=CALL, received="9d8b"), CALLS, {"received_correlation_id": "9d8b"}),
    (facts.CorrelationIdReplaced(call=CALL), CALLS, {}),
    (facts.SettingsReloaded(call=CALL, changes=("a: 3 -> 5",)), CALLS, {"changes": ["a: 3 -> 5"]}),
    (
        facts.SettingsReloaded(call=CALL, changes=("a: 3 -> 5",), scopes=("all services",), shadowed=("b",)),
        CALLS,
        {"changes": ["a: 3 -> 5"], "scopes": ["all services"], "shadowed": ["b"]},
    ),
    (facts.SettingsRejected(call=CALL, problems=("a: too high",)), CALLS, {"problems": ["a: too high"]}),
    (facts.SettingsContradictory(call=CALL, contradictions=("a: b",)), CALLS, {"contradictions": ["a: b"]}),
]  # fmt: skip


@pytest.mark.parametrize(("event", "logger", "fields"), LOGGED, ids=lambda value: type(value).__name__)
def test_each_line_has_its_fields(caplog, event, logger, fields):
    """By names that do not change, since searches and alerts are made of them; times to the microsecond."""
    caplog.set_level(logging.DEBUG, "mozaiks.connectors")
    LogListener(lambda: {"trace_id": "t"})(event)
    (record,) = caplog.records
    common = {"service": "svc", "operation": "op", "method": "GET", "route": "/r", "correlation_id": "c-1"}
    standard = set(vars(logging.makeLogRecord({}))) | {"message"}
    logged = {name: value for name, value in vars(record).items() if name not in standard}
    assert logged.pop("event") == record.getMessage().split()[0]
    assert record.name == logger
    assert logged == {**common, "trace_id": "t", **fields}


async def test_lines_carry_the_ids_of_their_spans(make_client, gateway, recorder, caplog):
    """From a log line to the span, and back by the correlation id."""
    caplog.set_level(logging.DEBUG, LOGGER_NAME)
    gateway.script(Fault(kind="status"))
    await make_client().get("/api/service/items", path_params={}, correlation_id="order-7")
    (call,) = recorder.spans("INTERNAL")
    spans = {"call": call, **dict(enumerate(recorder.spans("CLIENT"), start=1))}
    seen = []
    for record in caplog.records:
        span = spans[record.attempt] if record.event == "attempt.finished" else call
        assert record.trace_id == f"{span.context.trace_id:032x}"
        assert record.span_id == f"{span.context.span_id:016x}"
        assert record.trace_flags in {"01", "03"}  # the second bit: a random id, W3C level 2
        assert record.correlation_id == "order-7"
        seen.append(record.event)
    assert seen == ["attempt.finished", "retry.scheduled", "attempt.finished", "call.succeeded"]


@pytest.fixture
def host_structlog():
    """A host that has configured structlog for itself, below INFO nothing."""
    out = io.StringIO()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(out),
    )
    yield out
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


async def test_a_hosts_structlog_configuration_wins(make_client, gateway, host_structlog, caplog):
    """Its processors, its level, its output; nothing else."""
    caplog.set_level(logging.DEBUG, LOGGER_NAME)
    structlog.contextvars.bind_contextvars(tenant="t-1", name="would break the standard library's records")
    gateway.script(Fault(kind="status"))
    with pytest.raises(NotFoundError):
        await make_client().get("/api/service/items/x", correlation_id="c-9")
    lines = [json.loads(line) for line in host_structlog.getvalue().splitlines()]
    assert [(line["event"], line["level"], line["tenant"]) for line in lines] == [
        ("retry.scheduled", "info", "t-1"),
        ("call.failed", "warning", "t-1"),
    ]
    assert {line["correlation_id"] for line in lines} == {"c-9"}
    assert caplog.records == []


def test_a_host_may_configure_structlog_after_the_client_was_made(caplog):
    """Configuration is looked at when a line is written."""
    caplog.set_level(logging.DEBUG, LOGGER_NAME)
    listener = LogListener()
    out = io.StringIO()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(out)
    )
    try:
        listener(facts.CorrelationIdReplaced(call=CALL))
    finally:
        structlog.reset_defaults()
    assert json.loads(out.getvalue())["event"] == "correlation_id.replaced"
    assert caplog.records == []


async def test_a_hosts_context_cannot_break_a_line(make_client, caplog):
    """Variables that a host has bound under names of the standard library's records stay the host's."""
    caplog.set_level(logging.DEBUG, LOGGER_NAME)
    with structlog.contextvars.bound_contextvars(name="x", message="y", args="z"):
        await make_client().get("/api/service/items")
    assert [record.event for record in caplog.records] == ["attempt.finished", "call.succeeded"]


class CoreFormatter(logging.Formatter):
    """As the core writes its log file: ids in messages are masked, so are extras whose names suggest secrets."""

    _standard = frozenset(vars(logging.makeLogRecord({}))) | {"message"}

    def format(self, record):
        message = re.sub(
            r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "***", record.getMessage(), flags=re.IGNORECASE
        )
        telling = re.compile("api_?key|auth|secret|password|token")
        extra = {
            key: "masked" if telling.search(key) else value
            for key, value in vars(record).items()
            if key not in self._standard
        }
        return json.dumps({"level": record.levelname, "logger": record.name, "msg": message, "extra": extra})


async def test_the_correlation_id_survives_the_cores_formatter(make_client, gateway):
    """A UUID in a message would be masked; in a field of its own it can be searched for."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(CoreFormatter())
    logger = logging.getLogger(LOGGER_NAME)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    chosen = str(uuid.uuid4())
    try:
        gateway.script(Fault(kind="status"))
        await make_client().get("/api/service/items", correlation_id=chosen)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(lines) == 4
    assert {line["extra"]["correlation_id"] for line in lines} == {chosen}
    assert "masked" not in out.getvalue()


PROBE = """
import asyncio
from middleware import PlatformError
from runtime.connectors.base import PlatformHttpClient

async def main():
    async with PlatformHttpClient("http://127.0.0.1:9") as client:
        try:
            await client.post("/x", json_body={})
        except PlatformError:
            pass

asyncio.run(main())
"""


@pytest.mark.sockets
def test_nothing_is_printed_where_nobody_configured_logging():
    """Not even for a failed call."""
    result = run_forked(PROBE)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


async def test_a_handler_that_raises_never_changes_a_call(make_client, gateway, recorder):
    """The host's handler is third-party code; lost log lines are counted."""

    class Broken(logging.Handler):
        def handle(self, record):
            raise RuntimeError("full disk")

    logger, broken = logging.getLogger(LOGGER_NAME), Broken()
    logger.addHandler(broken)
    logger.setLevel(logging.DEBUG)
    try:
        assert (await make_client().get("/api/service/items"))["items"] == []
    finally:
        logger.removeHandler(broken)
        logger.setLevel(logging.NOTSET)
    assert len(gateway.requests) == 1
    lost = {
        point.attributes["mozaiks.telemetry.kind"]: point.value
        for point in recorder.points("mozaiks.telemetry.dropped")
    }
    assert lost == {"event": 2, "span": 0}
