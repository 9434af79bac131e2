"""Settings check themselves."""

from dataclasses import dataclass
from typing import Annotated

import pytest

from middleware.errors import ConfigError
from middleware.settings import Setting, Settings, SettingSpec, problems, settings_of


@dataclass(frozen=True, kw_only=True)
class Example(Settings):
    count: Annotated[int, SettingSpec(doc="A count.", ge=1, le=5)] = 3
    share: Annotated[float, "foreign", SettingSpec(doc="A share.", ge=0, le=1, unit="s")] = 0.5
    on: Annotated[bool, SettingSpec(doc="A switch.", shared=True)] = False
    word: Annotated[str, SettingSpec(doc="A word.", choices=("one", "two"), source="nowhere")] = "one"
    free: Annotated[str, SettingSpec(doc="Any text.")] = ""
    plain: int = 7


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"count": 1},
        {"count": 5},
        {"share": 0},
        {"share": 1},
        {"on": True},
        {"word": "two"},
        {"free": "x"},
        {"plain": "x"},
    ],
)
def test_values_within_their_bounds_are_taken(values):
    """The bounds themselves too, and a whole number for a float."""
    assert problems(Example(**values)) == []


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"count": 0}, "count: must be >= 1, got 0"),
        ({"count": 6}, "count: must be <= 5, got 6"),
        ({"count": 2.0}, "count: must be int, got 2.0"),
        ({"count": True}, "count: must be int, got True"),
        ({"share": float("nan")}, "share: must be >= 0, got nan"),
        ({"share": 1.01}, "share: must be <= 1, got 1.01"),
        ({"share": True}, "share: must be float, got True"),
        ({"share": "1"}, "share: must be float, got '1'"),
        ({"on": 1}, "on: must be bool, got 1"),
        ({"word": "three"}, "word: must be one of one, two, got 'three'"),
        ({"free": None}, "free: must be str, got None"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_must_be(values, problem):
    """By the class and the field."""
    with pytest.raises(ConfigError) as caught:
        Example(**values)
    assert caught.value.problems == (f"Example.{problem}",)


def test_every_wrong_value_is_named():
    """In the order of their declaration."""
    with pytest.raises(ConfigError) as caught:
        Example(count=0, free=1)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["Example.count", "Example.free"]


def test_what_a_class_declares_can_be_listed():
    """Fields without a SettingSpec are not listed; what a SettingSpec omits is empty."""
    listed = list(settings_of(Example))
    assert [setting.name for setting in listed] == ["count", "share", "on", "word", "free"]
    assert listed[4] == Setting("free", str, "", SettingSpec(doc="Any text."))
    spec = listed[4].spec
    assert (spec.unit, spec.ge, spec.le, spec.choices, spec.shared, spec.source) == ("", None, None, (), False, "")
