"""A settings file that is changed while the program runs: what of it is in force, and when."""

import os
import time

import pytest

from middleware.events import SettingsRejected, SettingsReloaded
from middleware.stack import Telemetry
from runtime.settings import LiveSettings
from runtime.testing import ScriptedUpstream, run_virtual

SERVICES = {"service": ("list_items", "get_item"), "hosting": ("deploy",)}
GOOD = "[retry]\nmax_attempts = 2\n"
OTHER = "[retry]\nmax_attempts = 4\n"


class Live:
    """
    Settings that follow a file; both clocks are moved by hand.

    The file's own time of change is real, so the wall clock is so many seconds after it.
    """

    def __init__(self, tmp_path, text=GOOD, *, seconds_past=0.0, **others):
        self.path = tmp_path / "settings.toml"
        self.path.write_text(text)
        self.seconds_past = seconds_past
        self.policies = LiveSettings(file=self.path, services=SERVICES, wall_clock=self.wall_clock, **others)
        self.now = 0.0
        assert self.policies.poll(0.0) is None

    def wall_clock(self):
        try:
            return self.path.stat().st_ctime + self.seconds_past
        except FileNotFoundError:
            return time.time()

    def look(self, after=1.0):
        self.now += after
        return self.policies.poll(self.now)

    @property
    def attempts(self):
        return self.policies.of("service").retry.max_attempts


def test_a_file_that_is_written_in_place_is_in_force_when_two_looks_see_the_same(tmp_path):
    """R61: the second look comes early."""
    live = Live(tmp_path)
    live.path.write_text(OTHER)
    assert live.look() is None
    assert live.attempts == 2
    assert live.look(0.19) is None
    assert live.look(0.02).changes == ("retry.max_attempts: 2 -> 4",)
    assert live.attempts == 4
    assert live.look() is None


@pytest.mark.parametrize("half", ["", "# half", "[retry]\n", "[retry]\nmax_attempts = ", "[retr"])
def test_a_half_written_file_is_never_in_force(tmp_path, half):
    """R61: neither without what it lacks, nor as an error for its end; an empty one is rejected."""
    live = Live(tmp_path)
    live.path.write_text(half)
    first = live.look()
    assert (first is None) == bool(half)
    live.path.write_text(OTHER)
    assert live.look() is None
    assert live.attempts == 2
    assert live.look(0.2).changes == ("retry.max_attempts: 2 -> 4",)


def test_a_file_that_grows_is_waited_for(tmp_path):
    """R61: as long as each look sees another content."""
    live = Live(tmp_path)
    for number in range(5):
        live.path.write_text(OTHER + "#" * number)
        assert live.look(0.2 if number else 1.0) is None
        assert live.attempts == 2
    assert live.look(0.2).changes == ("retry.max_attempts: 2 -> 4",)


@pytest.mark.parametrize(("seconds_past", "at_once"), [(0.99, False), (1.0, True), (60.0, True), (-60.0, False)])
def test_a_file_that_has_not_been_changed_for_a_second_is_in_force_at_the_first_look(tmp_path, seconds_past, at_once):
    """R61: by the time of its change, whichever time it is stamped with; one in the future says nothing."""
    live = Live(tmp_path)
    live.path.write_text(OTHER)
    os.utime(live.path, (1, 1))
    live.seconds_past = seconds_past
    assert (live.look() is not None) == at_once
    assert (live.look(0.2) is not None) == (not at_once)
    assert live.attempts == 4


def test_a_file_that_changes_while_it_is_read_is_looked_at_again(tmp_path, monkeypatch):
    """R61: an old time stamp is of another content then."""
    live = Live(tmp_path, seconds_past=60.0)
    live.path.write_text(OTHER)
    real = LiveSettings._read

    def slow(settings):
        found = real(settings)
        time.sleep(0.02)  # more than a tick of the file system's clock
        live.path.write_text(OTHER + "# more\n")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(LiveSettings, "_read", slow)
        assert live.look() is None
        assert live.attempts == 2
    assert live.look(0.2) is not None
    assert live.attempts == 4


def test_a_rename_into_place_is_in_force_at_once(tmp_path):
    """R61: it is complete, however new it is."""
    live = Live(tmp_path)
    fresh = tmp_path / "fresh"
    fresh.write_text(OTHER)
    fresh.replace(live.path)
    assert live.look().changes == ("retry.max_attempts: 2 -> 4",)


def test_a_link_that_is_swapped_is_in_force_at_once(tmp_path):
    """R61: as in a mounted volume."""
    for name, text in (("one", GOOD), ("two", OTHER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.toml").write_text(text)
    (tmp_path / "data").symlink_to("one")
    policies = LiveSettings(file=tmp_path / "data" / "settings.toml")
    (tmp_path / "fresh").symlink_to("two")
    (tmp_path / "fresh").replace(tmp_path / "data")
    assert policies.poll(1.0).changes == ("retry.max_attempts: 2 -> 4",)


@pytest.mark.parametrize("seconds_past", [0.0, 60.0])
def test_a_change_of_equal_size_and_time_stamp_is_seen(tmp_path, seconds_past):
    """R61: as `cp -p` and reproducible builds make it."""
    live = Live(tmp_path)
    os.utime(live.path, (1, 1))
    live.look()
    live.path.write_text(OTHER)
    os.utime(live.path, (1, 1))
    live.seconds_past = seconds_past
    live.look()
    live.look()
    assert live.attempts == 4


def test_a_change_within_one_tick_of_the_file_systems_clock_is_seen(tmp_path, monkeypatch):
    """R61: no stamp differs then, so a file that was changed lately is read again."""
    live = Live(tmp_path)
    same = live.path.stat()
    monkeypatch.setattr(LiveSettings, "_look", lambda _self: same)
    live.path.write_text(OTHER)
    live.look()
    live.look()
    assert live.attempts == 4


def test_a_settled_file_is_not_read_again(tmp_path, monkeypatch):
    """R61: one system call per second."""
    live = Live(tmp_path, seconds_past=60.0)
    monkeypatch.setattr(LiveSettings, "_read", lambda _self: pytest.fail("read"))
    assert live.look() is None


@pytest.mark.parametrize("text", ["", " \n\t\n"])
@pytest.mark.parametrize("seconds_past", [0.0, 60.0])
def test_an_empty_file_is_rejected_once_and_the_last_good_settings_stay(tmp_path, text, seconds_past):
    """R61: like one that is gone; also one that was renamed into place."""
    live = Live(tmp_path)
    live.path.write_text(text)
    live.seconds_past = seconds_past
    assert live.look().problems == (f"{live.path}: is empty",)
    assert [live.look() for _ in range(3)] == [None] * 3
    assert live.attempts == 2
    live.path.unlink()
    assert "cannot be read" in live.look().problems[0]
    assert live.look() is None
    live.path.write_text(GOOD)
    assert [live.look() for _ in range(3)] == [None] * 3
    live.path.write_text("# the defaults\n")
    live.look()
    live.look()
    assert live.attempts == 3


def test_an_empty_file_at_the_start_is_one_without_settings(tmp_path):
    """R61: one look decides then; what is written into it later is followed."""
    live = Live(tmp_path, "")
    assert [live.look() for _ in range(3)] == [None] * 3
    live.path.write_text(OTHER)
    live.look()
    live.look()
    assert live.attempts == 4


@pytest.mark.parametrize("content", [b"#" * (64 * 1024 + 1), b"[retry]\nmax_attempts = 99", b"\xff"])
def test_a_broken_file_is_rejected_once(tmp_path, content):
    """R61: also while it is too new to go by its time stamp."""
    live = Live(tmp_path)
    live.path.write_bytes(content)
    reported = [live.look() for _ in range(4)]
    assert sum(change is not None for change in reported) == 1
    assert live.attempts == 2


def test_a_change_names_its_scope_and_both_values(tmp_path):
    """R61: with where a value came from that was not given for that scope."""
    live = Live(tmp_path, seconds_past=60.0)
    live.path.write_text(
        "[retry]\nmax_attempts = 4\nbase_delay_s = 0.5\n[services.service.retry]\nmax_attempts = 5\n"
        "[services.service.operations.get_item.retry]\nmax_attempts = 1\n[services.hosting.budget]\nenabled = true\n"
    )
    change = live.look()
    assert change.changes == (
        "retry.base_delay_s: 0.1 (default) -> 0.5",
        "retry.max_attempts: 2 -> 4",
        "service.retry.max_attempts: 2 (all services) -> 5",
        "service.get_item.retry.max_attempts: 2 (all services) -> 1",
    )
    assert change.scopes == ("all services", "service", "service.get_item")
    live.path.write_text("[services.service.retry]\nmax_attempts = 5\n")
    change = live.look()
    assert change.changes == (
        "retry.base_delay_s: 0.5 -> 0.1 (default)",
        "retry.max_attempts: 4 -> 3 (default)",
        "service.get_item.retry.max_attempts: 1 -> 5 (service)",
    )


SHADOWED = "{path}:2: retry.max_attempts = {value} is overridden by MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS"


def test_a_value_that_a_variable_shadows_is_reported_at_every_reload(tmp_path):
    """R61: also where nothing else has changed; a variable with the same value shadows nothing."""
    live = Live(tmp_path, seconds_past=60.0, environ={"MOZAIKS_CONNECTORS_RETRY_MAX_ATTEMPTS": "2"})
    for value in (4, 5):
        live.path.write_text(f"[retry]\nmax_attempts = {value}\n")
        change = live.look()
        assert change.changes == ()
        assert change.problems == ()
        assert change.shadowed == (SHADOWED.format(path=live.path, value=value),)
        assert live.look() is None
    live.path.write_text("[retry]\nmax_attempts = 5\nbase_delay_s = 0.5\n")
    change = live.look()
    assert len(change.changes) == len(change.shadowed) == 1
    live.path.write_text("[retry]\nmax_attempts = 2\nbase_delay_s = 0.5\n")
    assert live.look() is None


def test_what_a_reload_says_reaches_the_events(tmp_path):
    """R61: changes, scopes and shadowed values; the log line is made from them."""
    live = Live(tmp_path, seconds_past=60.0, environ={"MOZAIKS_CONNECTORS_RETRY_BASE_DELAY_S": "0.4"})
    events = []

    async def scenario():
        client = ScriptedUpstream([], then=200).client(
            service="hosting", policies=live.policies, telemetry=Telemetry(listener=events.append)
        )
        await client.get("/r")
        live.path.write_text("[retry]\nbase_delay_s = 0.2\n[services.service.retry]\nmax_attempts = 5\n")
        for _ in range(2):
            live.policies._next_look = 0.0
            await client.get("/r")

    run_virtual(scenario())
    (reported,) = [event for event in events if isinstance(event, SettingsReloaded | SettingsRejected)]
    assert reported.scopes == ("all services", "service")
    assert reported.changes[-1] == "service.retry.max_attempts: 2 (all services) -> 5"
    assert len(reported.shadowed) == 1
