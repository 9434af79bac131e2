"""Names that look like others."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.settings.typos import closest, look_alikes

NAME = "MOZAIKS_MANAGED"
TEXTS = st.text("ABC_", max_size=7)


def one_edit_apart(one, other):
    """The definition, spelled out: every name that one edit makes of *one*."""
    letters = sorted(set(one + other))
    made = set()
    for index in range(len(one) + 1):
        made |= {one[:index] + letter + one[index:] for letter in letters}
        made |= {one[:index] + letter + one[index + 1 :] for letter in letters}
        made |= {
            one[:index] + one[index + 1 :],
            one[:index] + one[index + 1 : index + 2] + one[index : index + 1] + one[index + 2 :],
        }
    return one != other and other in made


@given(TEXTS, TEXTS)
def test_a_look_alike_is_one_edit_away(one, other):
    """An insertion, a deletion, a substitution or a transposition; two are none, and a known name is no typo."""
    assert list(look_alikes([one], [other])) == ([(one, other)] if one_edit_apart(one, other) else [])


def test_every_single_edit_of_a_long_name_is_seen():
    """At each place of it."""
    edits = set()
    for index in range(len(NAME)):
        edits |= {
            NAME[:index] + NAME[index + 1 :],
            NAME[:index] + "x" + NAME[index:],
            NAME[:index] + "x" + NAME[index + 1 :],
        }
        edits.add(NAME[:index] + NAME[index : index + 2][::-1] + NAME[index + 2 :])
    edits.discard(NAME)
    known = [NAME, *(letter * 15 for letter in string.ascii_lowercase)]
    assert dict(look_alikes(edits, known)) == dict.fromkeys(edits, NAME)


def test_a_known_name_is_none_even_where_it_looks_like_another():
    """Two names of ours may be alike."""
    assert list(look_alikes(["AB", "AC", "AD"], ["AB", "AC"])) == [("AD", "AB")]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("retry.max_atempts", "retry.max_attempts"),
        ("permit", None),
        ("max_attempts_retry", "retry.max_attempts"),
        ("", None),
    ],
)
def test_the_closest_name_is_the_one_that_was_meant(name, meant):
    """None where no name is like it."""
    assert closest(name, iter(["bulkhead.permits", "retry.max_attempts"])) == meant


def test_one_edit_beats_likeness():
    """A transposition differs in two letters, and is one edit."""
    assert closest("ABDC", ["ABXDC_", "ABCD"]) == "ABCD"
