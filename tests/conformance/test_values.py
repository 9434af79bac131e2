"""Values of any type, and what is wrong with one."""

from dataclasses import dataclass
from typing import NewType

from runtime.conformance import documents
from runtime.conformance.values import anything, problem_of

ParcelId = NewType("ParcelId", str)


ParcelNumber = NewType("ParcelNumber", int)


@dataclass
class Parcel:
    id: ParcelId
    numbers: list[ParcelNumber]
    place: tuple[str, int]
    other: ParcelId | None = None


def test_types_with_a_name_of_their_own_are_those_that_they_name():
    """In a model's field, in a list, and as an option; a tuple has a type for each of its places."""
    assert problem_of(Parcel(ParcelId("p"), [ParcelNumber(1)], ("a", 1)), Parcel) == ""
    assert "result.id" in problem_of(Parcel(1, [], ("a", 1)), Parcel)
    assert "result.numbers[0]" in problem_of(Parcel(ParcelId("p"), ["x"], ("a", 1)), Parcel)
    assert "result.place[1]" in problem_of(Parcel(ParcelId("p"), [], ("a", "b")), Parcel)
    assert "result.place" in problem_of(Parcel(ParcelId("p"), [], ("a",)), Parcel)
    assert anything(ParcelNumber) == 1
    assert documents.filled(Parcel)["numbers"] == [1]
