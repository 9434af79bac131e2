"""Models of an illness: which requests they harm, when and how."""

from random import Random

import pytest

from runtime.forecast.models import MODELS, Setting, model_of

SETTING = Setting(rate=50.0, latency_s=0.1, ill_from_s=10.0, ill_until_s=40.0, spread=False)


def effects(text, times, setting=SETTING):
    service = model_of(text).service(setting, Random(1))
    return [service(at) for at in times]


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
