"""`demo --replicas`: how it judges what the gateway has read."""

import pytest

from runtime.cli import demo_replicas
from runtime.cli.replicas import PerSecond, ServerUnavailableError


@pytest.mark.parametrize(
    ("seconds", "passed"),
    [
        ([[60, 60], [50, 50], [50, 50]], [True, True]),
        ([[50, 50], [90, 90], [50, 50]], [False, True]),  # above the quota of all processes
        ([[50, 50], [100, 0], [100, 0]], [True, False]),  # one process has no part
    ],
    ids=["shared", "above", "alone"],
)
def test_a_quota_that_is_not_shared_is_a_failed_check(seconds, passed):
    """The first second has the burst, and is not judged."""
    step = demo_replicas._shared(PerSecond(seconds=seconds), 3)
    assert [so for _, so in step.checks] == passed


@pytest.mark.parametrize(
    ("at_s", "passed"),
    [([3.1], [True, True, True]), ([1.5, 3.1], [True, False, True]), ([], [True, True, False])],
    ids=["kept", "broken", "forever"],
)
def test_a_penalty_that_is_not_kept_is_a_failed_check(at_s, passed):
    """From a second after the 429 to the end of its Retry-After there is no request, and then there is one."""
    log = [{"status": 429, "at_s": 0.0}, *({"status": 200, "at_s": one} for one in at_s)]
    assert [so for _, so in demo_replicas._penalty(log, 0.0).checks] == passed


def test_without_a_server_one_line_says_so(monkeypatch, capsys):
    """Exit code 2, before any process is started."""

    def unavailable():
        raise ServerUnavailableError("no Redis or Valkey is installed")

    monkeypatch.setattr(demo_replicas, "QuotaServer", unavailable)
    assert demo_replicas.run(2, as_json=False, picture=None) == 2
    assert capsys.readouterr().err == "demo: no Redis or Valkey is installed\n"
