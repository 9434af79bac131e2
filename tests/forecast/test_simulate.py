"""Traffic on the real stack in virtual time: models, determinism, figures, and the comparison of two policies."""

from dataclasses import replace
from random import Random

import pytest

from middleware.stack import StackSettings
from runtime.forecast.models import MODELS, Setting, model_of
from runtime.forecast.simulate import Operation, Scenario, run_all, run_one, sections_of, settings_of
from runtime.forecast.statistics import compared, estimate

SETTING = Setting(rate=50.0, latency_s=0.1, ill_from_s=10.0, ill_until_s=40.0, spread=False)
NO_RETRY = {"retry": {"max_attempts": 1}, "circuit_breaker": {"mode": "disabled"}}


def effects(text, times, setting=SETTING):
    service = model_of(text).service(setting, Random(1))
    return [service(at) for at in times]


def scenario(fault, **changes):
    return replace(Scenario(fault=fault, rps=20.0, duration_s=12.0, ill_from_s=2.0, ill_until_s=8.0), **changes)


@pytest.mark.parametrize("name", [*MODELS, "503", "429:30"])
def test_each_model_is_well_before_and_after_its_illness(name):
    """But for a slow start, which is what follows an illness."""
    before, after = effects(name, [9.9, 60.0])
    assert {(one.kind, one.status) for one in (before, after)} == {("respond", 200)}


@pytest.mark.parametrize(
    ("text", "share", "expected"),
    [
        ("hang", 1.0, ("hang", 200)),
        ("refused", 1.0, ("refused", 200)),
        ("503", 1.0, ("respond", 503)),
        ("lost:20%", 0.2, ("lost", 200)),
        ("half-body:20%", 0.2, ("half_body", 200)),
        ("errors:30%", 0.3, ("respond", 500)),
        ("outage:hang", 1.0, ("hang", 200)),
        ("bad-replica:4", 0.25, ("respond", 500)),
        ("throttling:60%", 0.4, ("respond", 429)),
    ],
)
def test_a_model_harms_its_share_of_the_requests(text, share, expected):
    """Each by chance, but for those that harm all."""
    found = effects(text, [10 + number / 50 for number in range(1500)])
    assert sum((one.kind, one.status) == expected for one in found) / 1500 == pytest.approx(share, abs=0.04)


def test_flapping_is_down_first_then_up():
    """For the same time each."""
    assert [one.status for one in effects("flapping:5s", [10, 14.9, 15, 19.9, 20])] == [503, 503, 200, 200, 503]


def test_a_brownout_has_a_queue_that_grows_and_goes():
    """At 83 % load a service 1.5 times slower cannot do its work; afterwards it catches up."""
    found = effects("brownout:1.5", [number / 50 for number in range(6000)])
    assert max(one.after_s for one in found[:400]) < 1.5 < max(one.after_s for one in found[1500:2000])
    assert found[-1].after_s < 1.5


def test_a_slow_start_is_refused_then_slow():
    """It has a tenth of its capacity first."""
    found = effects("slow-start:10s", [20, *(40 + number / 50 for number in range(200))])
    assert found[0].kind == "refused"
    assert found[-1].after_s > 1


@pytest.mark.parametrize(
    "text",
    ["", "nothing", "hang:3", "errors", "errors:0%", "errors:130%", "spikes:5%", "brownout:x", "429:x", "slow:0s"],
)
def test_a_model_that_cannot_be_read_is_named(text):
    """The error quotes it; a default applies where there is one."""
    if text == "errors":
        assert model_of(text).values == (0.3,)
    else:
        with pytest.raises(ValueError, match=repr(text) if text else "''"):
            model_of(text)


def test_success_and_amplification_are_those_of_the_arithmetic():
    """R11: without retries a third fails in half the time; each call is one request."""
    run = run_one(scenario("errors:30%", rps=100.0), NO_RETRY, 0)
    assert run.success == pytest.approx(1 - 0.3 / 2, abs=0.03)
    assert run.amplification == 1.0
    assert run.calls == sum(second[0] for second in run.by_second) == pytest.approx(1200, abs=100)
    assert run.requests == sum(second[2] for second in run.by_second)


def test_the_same_seed_gives_the_same_run_and_another_one_another():
    """Whatever ran before, and in whichever process."""
    first = run_one(scenario("lost:20%"), {}, 3)
    assert run_one(scenario("lost:20%"), {}, 3) == first != run_one(scenario("lost:20%"), {}, 4)


def test_an_outage_opens_the_circuit_and_is_recovered_from():
    """R32, R33: rejections while it is open, and the time from its end."""
    run = run_one(scenario("outage:503", duration_s=30.0), {}, 0)
    assert 2 < run.opened_at_s < 6
    assert run.rejected == run.errors["CIRCUIT_OPEN"] > 50
    assert run.recovery_s <= 6
    assert run_one(scenario("outage:503", duration_s=9.0), {}, 0).recovery_s is None


def test_writes_are_repeated_as_the_operation_says():
    """R11: a POST is not repeated after a lost response, unless its connector declares it idempotent."""
    for operation, repeated in ((Operation(method="POST"), False), (Operation(method="POST", idempotent=True), True)):
        run = run_one(scenario("lost:20%", operation=operation), {}, 0)
        assert (run.amplification > 1) is repeated


def test_settings_survive_the_way_to_another_process():
    """As plain values, by section and field."""
    settings = settings_of({"retry": {"max_attempts": 7}, "bulkhead": {"adaptive": True}})
    assert settings_of(sections_of(settings)) == settings
    assert settings_of({}) == StackSettings()


def test_each_case_has_each_seed():
    """The index says of which case a run is."""
    cases = [(scenario("hang", duration_s=1.0, rps=2.0), {}), (scenario("503", duration_s=1.0, rps=2.0), {})]
    assert [(index, run.seed) for index, run in run_all(cases, [5, 6])] == [(0, 5), (1, 5), (0, 6), (1, 6)]


# --- statistics -------------------------------------------------------------------------------------------------------


def test_an_interval_is_that_of_students_t():
    """Five values: 2.776 standard errors."""
    found = estimate([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3
    assert found.least == 1
    assert found.most == 5
    assert found.high - found.mean == pytest.approx(2.776 * 2.5**0.5 / 5**0.5)
    assert estimate([1.0]).high == float("inf")


def test_noise_is_seldom_called_real():
    """Of 100 comparisons of the same with the same in two figures at most 5 % are, with some tolerance."""
    random, real = Random(1), 0
    for _ in range(100):
        pairs = {
            name: ([random.gauss(0, 1) for _ in range(8)], [random.gauss(0, 1) for _ in range(8)]) for name in "ab"
        }
        real += any(one.verdict == "real" for one in compared(pairs).values())
    assert real <= 100 * 0.1


def test_a_difference_in_each_seed_is_real():
    """Pairs are compared: chance that both share does not hide it."""
    random = Random(1)
    shared = [random.gauss(0, 10) for _ in range(10)]
    found = compared({"figure": (shared, [one + 1 + random.gauss(0, 0.2) for one in shared])})["figure"]
    assert found.verdict == "real"
    assert found.p == 2 / 2**10
    assert found.low < 1 < found.high


@pytest.mark.parametrize(("seeds", "verdict"), [(3, "too few seeds"), (6, "real")])
def test_too_few_seeds_say_so(seeds, verdict):
    """Two to the number of seeds is the number of assignments of signs."""
    assert compared({"figure": ([0.0] * seeds, [1.0] * seeds)})["figure"].verdict == verdict


def test_what_does_not_differ_is_the_same():
    """Not noise: no seed differs."""
    assert compared({"figure": ([1.0, 2.0], [1.0, 2.0])})["figure"].verdict == "same"


def test_many_pairs_are_sampled():
    """Beyond 12 pairs the assignments are drawn, the same in each run."""
    pairs = {"figure": ([0.0] * 20, [1.0] * 20)}
    assert compared(pairs) == compared(pairs)
    assert compared(pairs)["figure"].verdict == "real"
