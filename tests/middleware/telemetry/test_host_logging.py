"""Hosts set logging up in many ways; lines come through all of them."""

import asyncio
import functools
import io
import json
import logging
from pathlib import Path

import pytest
import structlog
from forked import run_forked
from layer_support import a_request

import middleware._internal.loggers
import middleware.telemetry.host_structlog
import middleware.telemetry.logs
from middleware import ServerError
from middleware import events as facts
from middleware.telemetry.logs import LOGGER_NAME, LogListener

CALL = a_request().call.info
FAILED = facts.CallFinished(
    call=CALL, outcome=a_request().call.outcome(1.0), error=ServerError("503 response", status=503)
)
FIELDS = [
    "event", "service", "operation", "method", "route", "correlation_id", "attempts", "elapsed_s", "outcome",
    "error_type", "reason", "stop_reason", "request_sent", "trace_id",
]  # fmt: skip


class Records(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def records():
    """A host with the standard library's logging; all of it is as before afterwards."""
    root, handler = logging.getLogger(), Records()
    before = root.level, logging.getLogRecordFactory(), logging.getLoggerClass()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler.records
    root.removeHandler(handler)
    root.setLevel(before[0])
    logging.setLogRecordFactory(before[1])
    logging.setLoggerClass(before[2])
    structlog.reset_defaults()


def over_stdlib(*processors, **more):
    structlog.configure(
        processors=[*processors, structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        **more,
    )


def printed_through(*processors, make_factory=structlog.PrintLoggerFactory):
    """What a structlog with these processors prints of a failed call."""
    out = io.StringIO()
    structlog.configure(processors=processors, logger_factory=make_factory(out))
    try:
        LogListener()(FAILED)
    finally:
        structlog.reset_defaults()
    return out.getvalue()


as_json = structlog.processors.JSONRenderer()


def without_structlog():
    """The standard library alone."""


@pytest.mark.parametrize("set_up", [without_structlog, over_stdlib], ids=lambda value: value.__name__)
@pytest.mark.parametrize("field", FIELDS)
def test_a_hosts_record_factory_may_set_any_field(records, set_up, field):
    """`extra` rejects what the factory has set; the line comes, with its own value."""
    plain = logging.getLogRecordFactory()

    def factory(*args, **kwargs):
        record = plain(*args, **kwargs)
        setattr(record, field, "the host's")
        return record

    logging.setLogRecordFactory(factory)
    set_up()
    LogListener(lambda: {"trace_id": "0af7"})(FAILED)
    (record,) = records
    assert record.getMessage().startswith("call.failed")
    if not (set_up is over_stdlib and field == "event"):  # there it is the message
        assert getattr(record, field) != "the host's"
    assert record.correlation_id == "c-1"


def test_a_record_class_may_compute_a_field(records):
    """A property without a setter: the host's value wins, and nothing raises."""

    class Record(logging.LogRecord):
        @property
        def service(self):
            return "core"

    logging.setLogRecordFactory(Record)
    LogListener()(FAILED)
    assert [(record.service, record.operation) for record in records] == [("core", "op")]


def test_a_hosts_filter_may_set_any_field():
    """As many do, to print ids of requests; it runs last, so its value wins."""
    root, handler = logging.getLogger(), Records()

    def stamp(record):
        record.correlation_id = record.service = "the host's"
        return True

    handler.addFilter(stamp)
    root.addHandler(handler)
    try:
        LogListener()(FAILED)
    finally:
        root.removeHandler(handler)
    assert [(record.correlation_id, record.operation) for record in handler.records] == [("the host's", "op")]


@pytest.mark.parametrize("set_up", [without_structlog, over_stdlib], ids=lambda value: value.__name__)
@pytest.mark.parametrize("fetched", ["before", "never"])
def test_the_source_line_is_ours(records, set_up, fetched):
    """Also where the host has fetched the logger before it configured structlog, whose own class then comes too late."""
    name = f"{LOGGER_NAME}.of_{set_up.__name__}_{fetched}"
    if fetched == "before":
        logging.getLogger(name)
    set_up()
    channel = middleware.telemetry.logs._Channel(name)
    kind = middleware.telemetry.logs._CALL_FAILED
    channel.open(kind.level)(kind, FAILED, {})
    modules = (middleware.telemetry.logs, middleware.telemetry.host_structlog, middleware._internal.loggers)
    ours = {module.__file__ for module in modules}  # the last one with structlog's own class, which knows no levels
    (record,) = records
    assert record.pathname in ours


def test_text_of_structlog_over_the_standard_library_stays_text(records):
    """A percent sign in it is one, and its source line is in our code: in which file, structlog's version decides."""
    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer(key_order=["event"])],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    listener = LogListener(lambda: {"trace_id": "100%s"})
    listener(FAILED)
    (record,) = records
    assert "trace_id='100%s'" in record.getMessage()
    assert Path(record.pathname).is_relative_to(Path(middleware.__file__).parent)


def test_what_a_processor_adds_for_the_logger_is_kept(records):
    """`exc_info` and the like go structlog's own way."""

    def with_stack(_logger, _method, event):
        return {**event, "stack_info": True}

    over_stdlib(with_stack)
    LogListener()(FAILED)
    assert [bool(record.stack_info) for record in records] == [True]


def test_a_level_that_the_standard_library_disables_is_not_written(records):
    """Without structlog's own filter too."""
    over_stdlib()
    logging.getLogger().setLevel(logging.ERROR)
    LogListener()(FAILED)
    assert records == []


@pytest.mark.parametrize("in_a_loop", [True, False])
def test_log_methods_may_be_coroutines(records, in_a_loop):
    """They are neither awaited, which a layer cannot do, nor lost; an unawaited one would be an error here."""
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.AsyncBoundLogger,
    )

    async def main():
        LogListener()(FAILED)

    if in_a_loop:
        asyncio.run(main())
    else:  # where the class itself raises
        LogListener()(FAILED)
    ours = [record for record in records if record.name == LOGGER_NAME]
    assert [(record.getMessage(), record.level) for record in ours] == [("call.failed", "warning")]


def test_a_factory_may_take_no_name():
    """`lambda: PrintLogger()`, as in many examples."""
    printed = printed_through(as_json, make_factory=lambda out: lambda: structlog.PrintLogger(out))
    assert json.loads(printed)["event"] == "call.failed"


def wants_a_key(_logger, _method, event):
    event["half-way"] = True
    event["tenant"] = event["tenant"].lower()
    return event


def adds_a_key(_logger, _method, event):
    return {**event, "region": "eu"}


def test_a_processor_may_want_a_key_of_its_own():
    """It is left out of our lines, with what it had changed; the others run, and the host's own lines have it."""
    line = json.loads(printed_through(wants_a_key, adds_a_key, as_json))
    assert line["event"] == "call.failed"
    assert line["region"] == "eu"
    assert line["service"] == "svc"
    assert "half-way" not in line


def test_a_renderer_that_raises_is_replaced():
    """By names and values."""
    printed = printed_through(adds_a_key, wants_a_key)
    assert printed.startswith("event='call.failed'")
    assert "region='eu'" in printed


def test_a_processor_may_drop_a_line():
    """That is the host's decision."""

    def drop(_logger, _method, _event):
        raise structlog.DropEvent

    assert printed_through(drop, as_json) == ""


def test_a_change_of_the_processors_in_place_is_followed():
    """The test helper of structlog makes it."""
    listener = LogListener()
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    try:
        with structlog.testing.capture_logs() as captured:
            listener(FAILED)
    finally:
        structlog.reset_defaults()
    assert [line["event"] for line in captured] == ["call.failed"]


HOST = """
import logging, logging.config, sys
def set_up():
    logging.config.dictConfig({"version": 1, "root": {"handlers": ["h"], "level": "DEBUG"},
        "handlers": {"h": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "f"}},
        "formatters": {"f": {"format": "%(name)s %(event)s"}}, "loggers": LOGGERS})
LOGGERS = {}
def lines():
    from runtime.connectors.loader import ConnectorConfig
    from runtime.testing import ScriptedUpstream, run_virtual
    async def main():
        try:
            await ScriptedUpstream([], then=404).client().get("/x")
        except Exception:
            pass
    run_virtual(main())
    ConnectorConfig.from_env({"MOZAIKS_MANAGED": "true"})
"""
HOSTS = {
    "after the import": "import runtime.testing, runtime.connectors.loader; set_up(); lines()",
    "between two calls": "logging.getLogger('asyncio').disabled = True; lines(); set_up(); lines()",
    "an ancestor is disabled": "logging.getLogger('mozaiks'); set_up(); lines()",
    "the loggers are named": "LOGGERS = {'mozaiks': {'level': 'DEBUG'}}; lines(); set_up(); lines()",
}
SILENCED = {
    "by the level of an ancestor": "set_up(); logging.getLogger('mozaiks').setLevel('CRITICAL'); lines()",
    "by the level of the root": "lines(); set_up(); logging.getLogger().setLevel('CRITICAL'); lines()",
    "by their own switch": "set_up(); [setattr(logging.getLogger(name), 'disabled', True) for name in"
    " ('mozaiks.connectors', 'mozaiks.connectors.attempts', 'mozaiks.mode')]; lines()",
    "by all of logging": "set_up(); logging.disable(logging.CRITICAL); lines()",
}


def printed_by(code):
    result = run_forked(f"{HOST}\n{code}")
    assert result.returncode == 0, result.stderr
    return [line for line in result.stdout.splitlines() if line.startswith("mozaiks")]


@pytest.mark.sockets
@pytest.mark.parametrize("code", HOSTS.values(), ids=HOSTS)
def test_a_logging_configuration_that_disables_existing_loggers_disables_none_of_ours(code):
    """By default it does: while the host has not fetched them, they are not among the existing ones."""
    assert printed_by(code) == [
        "mozaiks.connectors.attempts attempt.finished",
        "mozaiks.connectors call.failed",
        "mozaiks.mode mode.self_hosted",
    ]


@pytest.mark.sockets
@pytest.mark.parametrize("code", SILENCED.values(), ids=SILENCED)
def test_a_host_silences_them_as_any_logger(code):
    """By level or switch, of theirs or of an ancestor, at any time."""
    assert printed_by(code) == []


@pytest.mark.sockets
@pytest.mark.parametrize("fetched", ["mozaiks", "mozaiks.connectors", "mozaiks.connectors.attempts"])
def test_a_logger_that_the_host_fetched_prints_nothing_without_a_configuration(fetched):
    """Python's last resort would print its warnings; those of the mode, which are for that, it prints."""
    result = run_forked(f"{HOST}\nlogging.getLogger({fetched!r}); lines()")
    assert (result.returncode, result.stdout) == (0, "")
    assert [line.split()[0] for line in result.stderr.splitlines()] == ["mode.self_hosted"]


def test_no_logger_is_made_by_listening():
    """Only the host makes one, by its name."""
    name = f"{LOGGER_NAME}.never_fetched"
    make = functools.partial(middleware.telemetry.logs._Channel, name)
    assert make().open(logging.CRITICAL) is not None
    assert name not in logging.root.manager.loggerDict
