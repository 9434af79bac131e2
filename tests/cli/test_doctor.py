"""`python3 -m runtime doctor`: what each check finds, and what the command ends with."""

import json
import socket
import sys
import time
from email.utils import formatdate

import pytest
import trustme

from runtime._internal import installation
from runtime.cli import doctor
from runtime.cli.bootstrap import BootstrapError
from runtime.gateway import DEFAULT_API_KEY, Fault, GatewayProcess

pytestmark = pytest.mark.sockets


@pytest.fixture
def healthy(environment, no_settings):
    """No settings, no index that is asked, no other environment, no certificates that are named."""
    for name in (*doctor._CA_FILES, doctor._CA_FOLDER):
        environment.delenv(name, raising=False)
    environment.setenv("MOZAIKS_VENV", "none")
    environment.setattr(doctor, "fetch", lambda *_, **__: b"")
    return environment


@pytest.fixture(scope="module")
def gateway_process():
    with GatewayProcess() as started:
        yield started


@pytest.fixture
def platform(gateway_process):
    gateway_process.reset()
    return gateway_process


@pytest.fixture
def diagnose(capsys):
    """Run the command; returns its exit code, and status and text of each result of one check."""

    def run(check, *arguments):
        code = doctor.main(["--json", "--timeout", "2", *arguments])
        document = json.loads(capsys.readouterr().out)
        assert document["ok"] == (code == 0)
        return code, [(one["status"], one["said"]) for one in document["results"] if one["check"] == check]

    return run


def test_a_healthy_place_is_fine(healthy, capsys):
    """Each line is at most 80 columns wide, and nothing is to be done."""
    assert doctor.main([]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert captured.err == ""
    assert lines[-1] == "0 errors, 0 warnings"
    assert max(len(line) for line in lines if "checkout" not in line) <= 80
    assert lines[0].split()[:4] == ["ok", "python", "cpython", f"{sys.version.split()[0]},"]
    assert [line.split()[1] for line in lines if line.startswith("note")] == ["gateway", "telemetry"]


def test_in_managed_mode_gateway_and_clock_are_looked_at(healthy, platform, diagnose):
    """One GET, which carries neither key nor token; an error status is a response too."""
    healthy.setenv("MOZAIKS_MANAGED", "1")
    healthy.setenv("MOZAIKS_GATEWAY_BASE_URL", platform.url)
    healthy.setenv("MOZAIKS_GATEWAY_API_KEY", DEFAULT_API_KEY)
    code, found = diagnose("gateway")
    assert code == 0
    assert found == [("ok", f"{platform.url}: responds with 401")]
    (request,) = platform.requests()
    assert request["method"] == "GET"
    assert not {"x-mozaiks-app-key", "authorization"} & {name.lower() for name, _ in request["headers"]}


@pytest.mark.parametrize(
    ("ahead_s", "status", "said"),
    [
        (0, "ok", "gateway: within 5 s of the server's Date"),
        (90, "warning", "gateway: this clock is 90 s ahead of the server's"),
        (-90, "warning", "gateway: this clock is 90 s behind the server's"),
    ],
)
def test_a_clock_that_differs_from_the_servers_is_reported(healthy, platform, diagnose, ahead_s, status, said):
    """By the server's Date, the time of the exchange left out."""
    healthy.setenv("MOZAIKS_MANAGED", "1")
    healthy.setenv("MOZAIKS_GATEWAY_BASE_URL", platform.url)
    platform.script(Fault(kind="status", status=404, headers={"Date": formatdate(time.time() - ahead_s, usegmt=True)}))
    code, found = diagnose("clock")
    assert code == 0
    assert [found[0][0], round_seconds(found[0][1])] == [status, round_seconds(said)]


def round_seconds(text):
    """Whole seconds of a Date and the time of the exchange differ by one or two."""
    return text.replace("89", "90").replace("91", "90").replace("88", "90").replace("92", "90")


@pytest.mark.parametrize(
    ("date", "expected"),
    [(100, 0.0), (99, 0.0), (101, 0.0), (40, 59.0), (160, -59.0)],
    ids=["same second", "one before", "at the end", "ahead", "behind"],
)
def test_what_the_exchange_explains_is_no_difference(date, expected):
    """A Date has whole seconds, and was written between the start and the end."""
    assert doctor._skew(formatdate(date, usegmt=True), 100.0, 101.0) == expected


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Mon, 01 Jan 2024 00:00:00 +99999999999999", f"Mon, 01 Jan {10**20} 00:00:00 GMT"]
)
def test_without_a_date_no_clock_is_compared(date):
    """The header is optional."""
    assert doctor._skew(date, 1.0, 2.0) is None


def test_a_gateway_that_does_not_respond_is_an_error(healthy, diagnose):
    """With the reason."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    healthy.setenv("MOZAIKS_MANAGED", "1")
    healthy.setenv("MOZAIKS_GATEWAY_BASE_URL", url)
    code, found = diagnose("gateway")
    assert code == 1
    assert found[0][0] == "error"
    assert "not sent" in found[0][1] or "ConnectError" in found[0][1]


def test_a_server_error_is_a_warning(healthy, platform, diagnose):
    """It is reachable, and ill."""
    healthy.setenv("MOZAIKS_MANAGED", "1")
    healthy.setenv("MOZAIKS_GATEWAY_BASE_URL", platform.url)
    platform.script(Fault(kind="status", status=502))
    assert diagnose("gateway") == (0, [("warning", f"{platform.url}: responds with 502")])


def test_the_findings_of_the_settings_check_are_its_results(healthy, diagnose, tmp_path):
    """Of the environment, or of the file that is named; an error among them fails."""
    file = tmp_path / "settings.toml"
    file.write_text("[retry]\nmax_attempt = 3\n")
    code, found = diagnose("settings", str(file))
    assert code == 1
    assert found[0][0] == "error"
    assert found[0][1].startswith(f"{file}:2: retry.max_attempt: no such setting; did you mean")
    assert found[0][1].endswith("(ST103)")


def test_mode_and_reason_are_said(healthy, diagnose):
    """A switch without a URL is a warning: mocks would be used."""
    assert diagnose("mode")[1][0][0] == "ok"
    healthy.setenv("MOZAIKS_MANAGED", "1")
    said = "self-hosted: MOZAIKS_MANAGED is on, but MOZAIKS_GATEWAY_BASE_URL is not set"
    assert diagnose("mode")[1] == [("warning", said)]


def test_each_telemetry_endpoint_gets_an_empty_export(healthy, collector, diagnose):
    """With the environment's headers; nothing is in it."""
    healthy.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    healthy.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=t-1")
    addresses = {signal: f"{collector.url}/v1/{signal}" for signal in ("traces", "metrics")}
    accepted = [("ok", f"{signal} to {address}: accepted") for signal, address in addresses.items()]
    assert diagnose("telemetry") == (0, accepted)
    assert [received.path for received in collector.received] == ["/v1/traces", "/v1/metrics"]
    assert {received.headers["x-tenant"] for received in collector.received} == {"t-1"}
    assert {received.body[:2] for received in collector.received} <= {b"", b"\x1f\x8b"}


def test_a_collector_that_rejects_exports_is_an_error(healthy, collector, diagnose):
    """With what it responded."""
    collector.respond = lambda _received: (401, {}, b"")
    healthy.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    healthy.setenv("OTEL_METRICS_EXPORTER", "none")
    assert diagnose("telemetry") == (1, [("error", f"traces to {collector.url}/v1/traces: status 401")])


def test_an_unusable_endpoint_is_an_error(healthy, diagnose):
    """By the variable's name."""
    healthy.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318")
    healthy.setenv("OTEL_METRICS_EXPORTER", "none")
    code, found = diagnose("telemetry")
    assert code == 1
    assert found == [("error", "OTEL_EXPORTER_OTLP_ENDPOINT: must be an absolute http:// or https:// URL")]


def test_certificate_files_are_opened(healthy, diagnose, tmp_path):
    """Those that the environment names: authorities are counted, anything else is an error."""
    good, bad = tmp_path / "ca.pem", tmp_path / "no.pem"
    trustme.CA().cert_pem.write_to_path(str(good))
    bad.write_text("no certificate\n")
    healthy.setenv("SSL_CERT_FILE", str(good))
    assert diagnose("ca files") == (0, [("ok", f"SSL_CERT_FILE: {good}: 1 authorities")])
    healthy.setenv("REQUESTS_CA_BUNDLE", str(bad))
    healthy.setenv("CURL_CA_BUNDLE", str(tmp_path / "absent.pem"))
    healthy.setenv("SSL_CERT_DIR", str(tmp_path))
    found = dict(zip(("file", "bundle", "absent", "folder"), doctor._ca_files(doctor.os.environ), strict=True))
    assert found["file"].status == "ok"
    assert found["bundle"].said.startswith(f"REQUESTS_CA_BUNDLE: {bad}: no certificates")
    assert found["absent"].said == f"CURL_CA_BUNDLE: {tmp_path / 'absent.pem'}: No such file or directory"
    assert found["folder"].hint == f"openssl rehash {tmp_path}"
    assert {found[name].status for name in ("bundle", "absent", "folder")} == {"error"}


def test_an_index_that_cannot_be_asked_is_a_warning(healthy, diagnose):
    """Nothing at run time needs it; its password is in no text."""

    def fail(*_, **__):
        raise OSError("https://ada:secret@index.test/simple is not there")

    healthy.setattr(doctor, "fetch", fail)
    healthy.setenv("PIP_INDEX_URL", "https://ada:secret@index.test/simple")
    code, found = diagnose("index")
    assert code == 0
    masked = "https://***@index.test/simple"
    assert found == [("warning", f"{masked}: {masked} is not there")]


def test_what_an_index_says_controls_no_terminal(healthy, capsys):
    """The reason phrase of its response is its own text."""

    def fail(*_, **__):
        raise OSError("HTTP Error 500: \x1b[2J\x9b1m\u202e down\u2028\x1f")

    healthy.setattr(doctor, "fetch", fail)
    assert doctor.main([]) == 0
    out = capsys.readouterr().out
    assert "HTTP Error 500: \ufffd[2J\ufffd1m\ufffd down" in " ".join(out.split())
    assert all(line.isprintable() for line in out.split("\n"))


def test_what_is_not_installed_is_named_with_the_command(healthy, capsys, monkeypatch):
    """An absent extra is a note; an absent dependency an error, after which nothing else can be looked at."""
    monkeypatch.setattr(doctor, "_required", lambda extra: ["no-such-package"] if extra in {"", "aiohttp"} else [])
    assert doctor.main([]) == 1
    out = capsys.readouterr().out
    assert "error    package     not installed: no-such-package\n" in out
    assert "note     extra       aiohttp, for the aiohttp transport: no-such-package not\n" in out
    assert f"-> {installation.install_command('aiohttp')}\n" in out
    assert "settings" not in out


def test_an_environment_that_cannot_be_made_is_an_error(healthy, diagnose, monkeypatch):
    """The other checks go on, and say why."""

    def fail(*_):
        raise BootstrapError("cannot set up .venv: is the package index reachable?")

    monkeypatch.setattr(doctor, "enter_environment", fail)
    assert diagnose("environment") == (1, [("error", "cannot set up .venv: is the package index reachable?")])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.toml"], "no such file: nowhere.toml"),
        (["--timeout", "0"], "--timeout: must be above 0 and at most 60, got 0"),
        (["--timeout", "nan"], "--timeout: must be above 0 and at most 60, got nan"),
    ],
)
def test_wrong_usage_is_an_error_of_its_own(arguments, said, capsys):
    """Exit code 2."""
    with pytest.raises(SystemExit) as caught:
        doctor.main(arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
