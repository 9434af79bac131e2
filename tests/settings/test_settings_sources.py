"""Settings from the environment."""

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import pytest

from middleware import CircuitOpenError, ConfigError, ServerError, StackSettings, Telemetry
from middleware.events import SettingsRejected, SettingsReloaded
from middleware.policies.retry import RetrySettings
from middleware.settings import SecretUrl
from runtime.cli.config import main
from runtime.connectors.loader import ConnectorConfig, load_connectors
from runtime.settings import LiveSettings, ResolvedSettings, settings, settings_table
from runtime.testing import ScriptedUpstream, UpperBound, run_virtual

SERVICES = {"identity": ("get_user",), "service": ("list_items", "create_item")}


def read(**variables):
    environ = {f"MOZAIKS_CONNECTORS_{name}": value for name, value in variables.items()}
    return ResolvedSettings(environ=environ, services=SERVICES)


def test_every_setting_can_be_set_from_the_environment():
    """Names are derived; nothing is left out."""
    for row in settings():
        kind, default, choices = row.setting.type, row.setting.default, row.setting.spec.choices
        text = {
            bool: lambda value: str(not value),
            int: lambda value: str(value + 1),
            float: lambda value: str(value * 1.01 or 0.5),
            str: lambda _value, choices=choices: choices[-1] if choices else "other",
            SecretUrl: lambda _value: "redis://other",
        }[kind](default)
        if row.setting.spec.le is not None and float(text) > row.setting.spec.le:
            text = str(default)
        found = getattr(getattr(read(**{row.name: text}).of("service"), row.section), row.setting.name)
        assert str(found).lower() == text.lower() or float(found) == pytest.approx(float(text)), row.name


def test_a_text_is_one_of_its_choices():
    """Any other text is an error that lists the choices."""
    with pytest.raises(
        ConfigError, match=r"TRANSPORT_LIBRARY: must be one of auto, httptools, h11, httpcore, aiohttp, got 'curl'"
    ):
        read(TRANSPORT_LIBRARY="curl")


def test_each_section_is_listed():
    """A policy without a setting would be out of the user's reach."""
    assert {row.section for row in settings()} == {field.name for field in fields(StackSettings) if field.init}


@pytest.mark.parametrize(
    ("words", "value"), [(("1", "true", "YES", "y", "On"), True), (("0", "False", "no", "N", "off"), False)]
)
def test_switches_read_the_usual_words(words, value):
    """As the core's own switches do."""
    assert [read(BUDGET_ENABLED=word).of("service").budget.enabled for word in words] == [value] * 5


def test_a_blank_value_is_unset():
    """An empty variable of a compose file changes nothing."""
    assert read(RETRY_MAX_ATTEMPTS=" ").of("service") == StackSettings()


def test_only_our_own_variables_are_read():
    """Among all those of a process; the one that names the file is no setting."""
    environ = {"PATH": "/bin", "RETRY_MAX_ATTEMPTS": "2", "MOZAIKS_CONNECTORS_FILE": "x"}
    assert ResolvedSettings(environ=environ).of("service") == StackSettings()


def problems_of(*arguments, **named):
    """What is wrong with settings."""
    with pytest.raises(ConfigError) as caught:
        ResolvedSettings(*arguments, **named)
    return caught.value.problems


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("RETRY_MAX_ATTEMPTS", "2.5", ": must be a whole number, got '2.5'"),
        ("RETRY_MAX_ATTEMPTS", " x ", ": must be a whole number, got 'x'"),
        ("BUDGET_RATIO", "much", ": must be a number, got 'much'"),
        ("BUDGET_ENABLED", "maybe", ": must be true or false, got 'maybe'"),
        ("SERVICE__RETRY_MAX_ATEMPTS", "3", ": no such setting; did you mean {}SERVICE__RETRY_MAX_ATTEMPTS?"),
        ("IDENTITY__GET_USR__RETRY_JITTER", "3", ": no such setting; did you mean {}IDENTITY__GET_USER__"),
        ("FIL", "3", ": no such setting; did you mean {}FILE?"),
        ("SERVICE____RETRY_MAX_ATTEMPTS", "3", ": no such setting; did you mean {}SERVICE__RETRY_MAX_ATTEMPTS?"),
    ],
)
def test_a_wrong_variable_is_told_with_what_may_stand_there(name, value, problem):
    """The name that is most like it, or what the value must be."""
    (told,) = problems_of(environ={f"MOZAIKS_CONNECTORS_{name}": value}, services=SERVICES)
    assert told.startswith(f"MOZAIKS_CONNECTORS_{name}" + problem.format("MOZAIKS_CONNECTORS_"))


@pytest.mark.parametrize("names", ["", "SERVICE__", "__SERVICE", "A__B__C"])
def test_a_level_is_a_service_or_an_operation_of_one(names):
    """Whatever they are called, where any name goes."""
    variable = f"MOZAIKS_CONNECTORS_{names}__RETRY_MAX_ATTEMPTS"
    (told,) = problems_of(environ={variable: "3"})
    assert told.startswith(f"{variable}: no such setting")
    assert (
        ResolvedSettings(environ={"MOZAIKS_CONNECTORS_A__B__RETRY_MAX_ATTEMPTS": "7"}).of("a", "b").retry.max_attempts
        == 7
    )


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (7, "settings: must be a table"),
        ({"retry": 7}, "retry: must be a table"),
        ({"services": 7}, "services: must be a table"),
        ({"services": {"service": 7}}, "services.service: must be a table"),
        ({"services": {"service": {"retry": 7}}}, "services.service.retry: must be a table"),
        ({"services": {"service": {"operations": 7}}}, "services.service.operations: must be a table"),
        (
            {"services": {"service": {"operations": {"list_items": 7}}}},
            "services.service.operations.list_items: must be a table",
        ),
        (
            {"services": {"service": {"operations": {"list_items": {"retry": 7}}}}},
            "services.service.operations.list_items.retry: must be a table",
        ),
        (
            {"services": {"service": {"retry": {"max_atempts": 7}}}},
            "services.service.retry.max_atempts: no such setting; did you mean services.service.retry.max_attempts?",
        ),
        ({"services": {"": {}}}, "services.: no such setting"),
        ({"services": {"service": {"operations": {"": {}}}}}, "services.service.operations.: no such setting"),
        ({"quite": {"other": 1}}, "quite.other: no such setting"),
    ],
)
def test_a_wrong_shape_is_told_with_its_place(given, problem):
    """Whether or not the services are known."""
    assert [told.partition("; did")[0] for told in problems_of(given)] == [
        f"constructor: {problem}".partition("; did")[0]
    ]
    assert problems_of(given, services={"service": ("list_items",)})[0].startswith(f"constructor: {problem}")


def test_every_problem_is_told_at_once():
    """Each by its variable, with what was expected; a typo gets a suggestion."""
    with pytest.raises(ConfigError) as caught:
        read(
            RETRY_MAX_ATTEMPTS="0",
            BUDGET_RATIO="much",
            BUDGET_ENABLED="maybe",
            RETRY_MAX_ATEMPTS="3",
            NOBODY__RETRY_MAX_ATTEMPTS="3",
        )
    text = str(caught.value)
    assert len(caught.value.problems) == 5
    assert "MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS: must be >= 1, got 0" in text
    assert "MOZAIKS_CONNECTORS_BUDGET_RATIO: must be a number, got 'much'" in text
    assert "MOZAIKS_CONNECTORS_BUDGET_ENABLED: must be true or false" in text
    assert (
        "MOZAIKS_CONNECTORS_RETRY_MAX_ATEMPTS: no such setting; did you mean MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS?"
        in text
    )


@pytest.mark.parametrize("value", [0, 11, True, 2.5, "3", None, float("nan")])
def test_a_settings_dataclass_checks_itself(value):
    """The same bounds apply to a value set in code."""
    with pytest.raises(ConfigError, match=r"RetrySettings\.max_attempts"):
        RetrySettings(max_attempts=value)


def test_the_documented_table_is_derived():
    """The table that users read is the one the code makes."""
    shown = (
        (Path(__file__).parents[2] / "docs/reference/settings.md").read_text().partition("| variable | default |")[2]
    )
    assert settings_table() == "| variable | default |" + shown.partition("\n\n")[0]


def test_each_setting_says_when_to_change_it():
    """One sentence for each direction; a text has none for the second."""
    rows = list(settings())
    assert [row.path for row in rows if not row.setting.spec.raise_when.endswith(".")] == []
    numbers = [row for row in rows if row.setting.type is not str]
    assert [row.path for row in numbers if not row.setting.spec.lower_when.endswith(".")] == []


def toml(tmp_path, text):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


def test_every_problem_of_a_file_is_told_with_its_line(tmp_path):
    """R60: unknown names with a suggestion, wrong values, values that an operation cannot have of its own."""
    file = toml(
        tmp_path,
        """[retry]
max_attempts = 0
max_atempts = 3
[bulkheed]
permits = 3
[services.service.operations.list_items.bulkhead]
permits = 3
[services.servise.retry]
max_attempts = 3
[services.service.operations.list_itens.retry]
max_attempts = 3
""",
    )
    with pytest.raises(ConfigError) as caught:
        ResolvedSettings({"budget": 7, "circuit_breaker": {"mode": "offf"}}, file=file, services=SERVICES)
    shared = "all operations of a service share this; set it for the service"
    wrong = "services.service.operations.list_itens"
    assert sorted(caught.value.problems) == sorted(
        [
            f"{file}:2: retry.max_attempts: must be >= 1, got 0",
            f"{file}:3: retry.max_atempts: no such setting; did you mean retry.max_attempts?",
            f"{file}:5: bulkheed.permits: no such setting; did you mean bulkhead.permits?",
            f"{file}:7: services.service.operations.list_items.bulkhead.permits: " + shared,
            f"{file}:8: services.servise: no such setting; did you mean services.service?",
            f"{file}:10: {wrong}: no such setting; did you mean services.service.operations.list_items?",
            "constructor: budget: must be a table",
            "constructor: circuit_breaker.mode: must be one of normal, shadow, disabled, forced_open, got 'offf'",
        ]
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[retry\n", "not TOML: Expected"),
        (b"a = " + b"9" * 5000, "not TOML"),
        (b"a = " + b"[" * 5000, "not TOML"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b"#" * (64 * 1024 + 1), "larger than 65536 bytes"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_file_that_is_no_settings_file(tmp_path, content, said):
    """A typed error that names the file."""
    file = tmp_path / "settings.toml"
    if content is not None:
        file.write_bytes(content)
    (told,) = problems_of(file=file)
    assert told.startswith(f"{file}: {said}")
    assert said.startswith("not TOML") or told == f"{file}: {said}"


@pytest.mark.parametrize(
    "value", ["-----BEGIN PRIVATE KEY-----\\nMIIEvQ", "MIIEvQIBADANBgkq\nhkiG9w0", "MIIEvQIBADANBgkqhkiG9w0"]
)
def test_no_key_or_certificate_is_printed(tmp_path, value):
    """Its content in place of its path, or in a setting of another type: the problem has its length."""
    names = ["CLIENT_KEY_FILE", "CA_FILE"] * ("\n" in value or "BEGIN" in value)
    names = [f"TRANSPORT_{name}" for name in names] + ["RETRY_MAX_ATTEMPTS", "TRANSPORT_TRUST_ENV"]
    found = problems_of(environ={f"MOZAIKS_CONNECTORS_{name}": value for name in names})
    assert len(found) == len(names)
    assert all(f"got {len(value)} characters" in problem for problem in found)
    file = toml(tmp_path, f"[retry]\nmax_attempts = {json.dumps(value)}\nmax_delay_s = [{json.dumps(value)}]\n")
    found = problems_of(file=file)
    assert [problem.rpartition(", ")[2] for problem in found] == [f"got {len(value)} characters", "got list"]


def test_a_name_of_a_file_of_settings_cannot_move_the_cursor(tmp_path):
    """Control characters, and those that reverse the text."""
    (problem,) = problems_of(file=toml(tmp_path, '[retry]\n"max\\u001b[2J\\u202e" = 1\n'))
    assert "retry.max [2J\ufffd: no such setting" in problem


def test_the_largest_file_is_read(tmp_path):
    """One byte more is too large."""
    assert ResolvedSettings(file=toml(tmp_path, "#" * 64 * 1024)).of("service") == StackSettings()


def test_the_line_is_found_under_any_plain_header(tmp_path):
    """With blanks and comments as people write them; where the file is written otherwise, its name must do."""
    file = toml(
        tmp_path,
        """budget = 7
services = { service = { retry = { max_attempts = 0 } } }

  [ retry ]  # as [elsewhere]
  max_attempts=0
[[bulkhead]]
permits = 0
[circuit_breaker]#
'mode' = "offf"
[transport]
library = "a = [b]"
""",
    )
    choices = "must be one of auto, httptools, h11, httpcore, aiohttp, got 'a = [b]'"
    assert [told.removeprefix(str(file)) for told in problems_of(file=file)] == [
        ":1: budget: must be a table",
        ":6: bulkhead: must be a table",
        ":5: retry.max_attempts: must be >= 1, got 0",
        ": circuit_breaker.mode: must be one of normal, shadow, disabled, forced_open, got 'offf'",
        f":11: transport.library: {choices}",
        ": services.service.retry.max_attempts: must be >= 1, got 0",
    ]


def test_a_shared_setting_in_a_variable_of_an_operation_is_refused():
    """R60: one operation cannot have permits of its own."""
    with pytest.raises(ConfigError, match="SERVICE__LIST_ITEMS__BULKHEAD_PERMITS: all operations of a service share"):
        read(SERVICE__LIST_ITEMS__BULKHEAD_PERMITS="3")
    with pytest.raises(
        ConfigError, match="no such setting; did you mean MOZAIKS_CONNECTORS_SERVICE__LIST_ITEMS__RETRY"
    ):
        read(SERVICE__LIST_ITEM__RETRY_MAX_ATTEMPTS="3")
    with pytest.raises(ConfigError, match="no such setting"):
        read(SERVICE__LIST_ITEMS__MORE__RETRY_MAX_ATTEMPTS="3")


class Live:
    """Settings that follow a file, and a clock that is moved by hand."""

    def __init__(self, tmp_path, text, **others):
        self.path = toml(tmp_path, text)
        self.policies = LiveSettings(file=self.path, services=SERVICES, **others)
        self.now = 0.0
        assert self.policies.poll(0.0) is None

    def write(self, text):
        """Replace the file as editors do."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.path)

    def poll(self):
        self.now += 1.0
        return self.policies.poll(self.now)

    @property
    def attempts(self):
        return self.policies.of("service", "list_items").retry.max_attempts


def test_a_changed_file_is_in_force_from_the_next_look_on(tmp_path):
    """R61: reported once, value by value."""
    live = Live(tmp_path, "[retry]\nmax_attempts = 2\n")
    before = live.policies.of("service", "list_items")
    live.write("[retry]\nmax_attempts = 4\n[services.service.budget]\nenabled = false\n")
    assert live.poll().changes == ("retry.max_attempts: 2 -> 4", "service.budget.enabled: true (default) -> false")
    assert live.attempts == 4
    assert before.retry.max_attempts == 2
    assert live.poll() is None
    assert live.policies.effective("service")[3].origin == f"{live.path}:2: retry.max_attempts"


def test_a_broken_file_keeps_the_last_good_settings_and_the_watching_goes_on(tmp_path):
    """R61: also one that is gone."""
    live = Live(tmp_path, "[retry]\nmax_attempts = 2\n")
    live.write("[retry]\nmax_attempts = 99\n")
    assert live.poll().problems == (f"{live.path}:2: retry.max_attempts: must be <= 10, got 99",)
    assert live.attempts == 2
    assert live.poll() is None
    live.path.unlink()
    assert "cannot be read" in live.poll().problems[0]
    assert live.attempts == 2
    live.write("[retry]\nmax_attempts = 5\n")
    assert live.poll().changes == ("retry.max_attempts: 2 -> 5",)


def test_the_wire_cannot_be_changed_while_it_is_used(tmp_path):
    """R61: connections are made once; such a change is rejected as a whole, and reported."""
    live = Live(tmp_path, "[retry]\nmax_attempts = 2\n")
    live.write("[retry]\nmax_attempts = 4\n[services.service.transport]\nmax_response_bytes = 2048\n")
    assert live.poll().problems == (
        f"{live.path}: service.transport.max_response_bytes: 8388608 (default) -> 2048: needs a restart, nothing was changed",
    )
    assert live.attempts == 2


def test_other_sources_stay_stronger_than_a_changed_file(tmp_path):
    """R61: as they were when it was first read."""
    environ = {"MOZAIKS_CONNECTORS_RETRY_MAX_DELAY_S": "5"}
    live = Live(tmp_path, "", constructor={"retry": {"max_attempts": 2}}, environ=environ)
    environ.clear()
    live.write("[retry]\nmax_attempts = 4\nmax_delay_s = 4\nbase_delay_s = 0.3\n")
    assert live.poll().changes == ("retry.base_delay_s: 0.1 (default) -> 0.3",)
    retry = live.policies.of("service").retry
    assert retry.max_attempts == 2
    assert retry.max_delay_s == 5.0
    assert retry.base_delay_s == 0.3
    live.write("[services.servise.retry]\nmax_attempts = 4\n")
    problem = "services.servise: no such setting; did you mean services.service?"
    assert live.poll().problems == (f"{live.path}:1: {problem}",)


def test_the_wire_of_all_services_cannot_be_changed_either(tmp_path):
    """R61: each value that would need a restart is reported, and no other."""
    live = Live(tmp_path, "[transport]\nmax_response_bytes = 2048\n")
    live.write("[transport]\nmax_response_bytes = 4096\ntrust_env = true\n[retry]\nmax_attempts = 1\n")
    assert live.poll().problems == (
        f"{live.path}: transport.max_response_bytes: 2048 -> 4096: needs a restart, nothing was changed",
        f"{live.path}: transport.trust_env: false (default) -> true: needs a restart, nothing was changed",
    )
    assert live.policies.of("service").transport.max_response_bytes == 2048


def test_a_look_that_takes_long_holds_nobody_up(tmp_path):
    """R61: the others go on with the settings they have; the change is reported to the one that looked."""
    live = Live(tmp_path, "[retry]\nmax_attempts = 2\n")
    live.path.unlink()
    os.mkfifo(live.path)  # who reads it waits for who writes
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(live.poll)
        with live.path.open("w") as pipe:  # opens when the other side has
            assert live.policies.poll(9.0) is None
            assert live.attempts == 2
            pipe.write("[retry]\nmax_attempts = 4\n")
        assert looking.result().changes == ("retry.max_attempts: 2 -> 4",)
    assert live.attempts == 4


def test_the_file_is_looked_at_once_a_second_at_most(tmp_path):
    """R61: a busy service does not stat a file per call."""
    live = Live(tmp_path, "[retry]\nmax_attempts = 2\n")
    live.write("[retry]\nmax_attempts = 4\n")
    assert live.policies.poll(0.9) is None
    assert live.policies.poll(1.0) is not None


def test_a_touched_file_without_a_change_tells_nothing(tmp_path):
    """R61: nothing changed."""
    live = Live(tmp_path, "[retry]\nmax_attempts = 2\n")
    live.write("# a comment\n[retry]\nmax_attempts = 2\n")
    assert live.poll() is None
    assert live.policies.effective("service")[3].origin == f"{live.path}:3: retry.max_attempts"


def test_calls_in_flight_end_with_the_settings_they_began_with(tmp_path):
    """R61: the new ones are the next call's; what the breaker has seen stays; both facts are logged."""
    live = Live(tmp_path, "[retry]\nmax_attempts = 2\nbase_delay_s = 5.0\n")
    events = []

    async def scenario():
        upstream = ScriptedUpstream([], then=500)
        client = upstream.client(
            policies=live.policies, random=UpperBound(), telemetry=Telemetry(listener=events.append)
        )
        first = asyncio.create_task(client.get("/r", path_params={}))
        await asyncio.sleep(1.5)
        live.write("[retry]\nmax_attempts = 1\n[circuit_breaker]\nmin_calls = 2\n")
        with pytest.raises(ServerError):
            await client.get("/r", path_params={})
        live.write("[retry]\nmax_attempts = 0\n")
        await asyncio.sleep(1.5)
        with pytest.raises(CircuitOpenError):
            await client.get("/r", path_params={})
        (error,) = await asyncio.gather(first, return_exceptions=True)
        upstream.assert_times(0, 1.5)
        assert error.stop_reason == "circuit_open"

    run_virtual(scenario())
    told = [event for event in events if isinstance(event, SettingsReloaded | SettingsRejected)]
    assert [type(event).__name__ for event in told] == ["SettingsReloaded", "SettingsRejected"]
    assert "retry.max_attempts: 2 -> 1" in told[0].changes


def test_the_environment_may_name_a_file(tmp_path, no_settings):
    """The loader's way: the bundle's settings follow it."""
    path = toml(tmp_path, "[services.identity.retry]\nmax_attempts = 6\n")
    config = ConnectorConfig.from_env(
        {"MOZAIKS_CONNECTORS_FILE": str(path)}, settings={"services": {"service": {"retry": {"max_attempts": 4}}}}
    )
    assert config.policies.of("identity").retry.max_attempts == 6
    assert config.policies.of("service").retry.max_attempts == 4
    with pytest.raises(ConfigError, match="cannot be read"):
        ConnectorConfig.from_env({"MOZAIKS_CONNECTORS_FILE": str(path) + "x"})


def test_services_with_a_wire_of_their_own_get_one(no_settings):
    """A service's own size limit applies to it alone; the others share connections."""
    environ = {
        "MOZAIKS_MANAGED": "true",
        "MOZAIKS_GATEWAY_BASE_URL": "http://platform.test",
        "MOZAIKS_CONNECTORS_HOSTING__TRANSPORT_MAX_RESPONSE_BYTES": "2048",
    }
    bundle = load_connectors(ConnectorConfig.from_env(environ))
    transports = {name: getattr(bundle, name)._http._transport for name in ("hosting", "identity", "billing")}
    assert transports["identity"] is transports["billing"]
    assert transports["hosting"] is not transports["identity"]
    assert transports["hosting"]._config.max_response_bytes == 2048


def test_the_command_prints_what_is_in_force(no_settings, capsys):
    """R60: value and origin; wrong settings are exit code 3, unknown names 2."""
    no_settings.setenv("MOZAIKS_CONNECTORS_HOSTING__DEPLOY__RETRY_MAX_ATTEMPTS", "1")
    assert main(["hosting", "deploy"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["retry.max_attempts", "1", "MOZAIKS_CONNECTORS_HOSTING__DEPLOY__RETRY_MAX_ATTEMPTS"] in lines
    assert ["deadline.total_s", "25.0", "default"] in lines
    assert main(["hosting", "--json"]) == 0
    assert {"name": "retry.max_attempts", "value": 3, "origin": "default"} in json.loads(capsys.readouterr().out)
    no_settings.setenv("MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS", "99")
    assert main(["hosting"]) == 3
    assert capsys.readouterr().err == "MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS: must be <= 10, got 99\n"
    for wrong in (["nothing"], ["hosting", "nothing"]):
        with pytest.raises(SystemExit) as caught:
            main(wrong)
        assert caught.value.code == 2


@pytest.mark.torture
@pytest.mark.parametrize("where", ["environment", "file", "constructor"])
def test_a_file_of_the_settings_that_cannot_be_read_is_named_by_where_it_was_written(tmp_path, no_settings, where):
    """With its path and the reason, when the connectors are loaded."""
    missing, environ, settings = tmp_path / "ca.pem", {}, None
    if where == "environment":
        origin = "MOZAIKS_CONNECTORS_HOSTING__TRANSPORT_CA_FILE"
        environ = {origin: str(missing)}
    elif where == "file":
        path = toml(tmp_path, f"[transport]\nca_file = '{missing}'\n")
        environ, origin = {"MOZAIKS_CONNECTORS_FILE": str(path)}, f"{path}:2: transport.ca_file"
    else:
        settings, origin = {"transport": {"ca_file": str(missing)}}, "constructor: transport.ca_file"
    managed = {"MOZAIKS_MANAGED": "true", "MOZAIKS_GATEWAY_BASE_URL": "https://platform.test"}
    config = ConnectorConfig.from_env({**managed, **environ}, settings=settings)
    with pytest.raises(ConfigError) as caught:
        load_connectors(config)
    assert str(caught.value) == f"{origin}: cannot be used: {missing}: [Errno 2] No such file or directory"


def test_the_command_opens_the_files_that_the_settings_name(tmp_path, no_settings, capsys):
    """Those of the service; in any mode."""
    variable, missing = "MOZAIKS_CONNECTORS_HOSTING__TRANSPORT_CLIENT_CERTIFICATE_FILE", tmp_path / "client.pem"
    no_settings.setenv(variable, str(missing))
    assert main(["hosting"]) == 3
    assert main(["identity"]) == 0
    assert capsys.readouterr().err == f"{variable}: cannot be used: {missing}: [Errno 2] No such file or directory\n"
