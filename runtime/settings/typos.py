"""
Names that look like others: what the writer of a wrong one most likely meant.

The edits are those of Damerau (1964), who found four of five misspellings to be one of them: a letter missing, a letter
too many, a wrong letter, two neighbours swapped.
"""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator

__all__ = ["closest", "look_alikes"]


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of *known* that *name* most likely meant, best one edit away; None when none is like it."""
    names = list(known)
    near = next((one for one in names if _is_one_edit(name, one)), None)
    # equivalent: `2`: only the first is taken
    return near or next(iter(difflib.get_close_matches(name, names, n=1)), None)


def look_alikes(names: Iterable[str], known: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each of *names* that is no known name and one edit away from one, with that one."""
    known = set(known)
    by_length: dict[int, list[str]] = defaultdict(list)  # an edit changes the length by one at most
    for one in sorted(known):
        for length in (len(one) - 1, len(one), len(one) + 1):
            by_length[length].append(one)
    for name in sorted(set(names) - known):
        near = next((one for one in by_length.get(len(name), ()) if _is_one_edit(name, one)), None)
        if near is not None:
            yield name, near


def _is_one_edit(one: str, other: str) -> bool:
    if abs(len(one) - len(other)) > 1 or one == other:
        return False
    pairs = enumerate(zip(one, other, strict=False))
    same = next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))
    left, right = one[same:], other[same:]
    swapped = right[1::-1] + right[2:]
    return left[1:] == right[1:] or left[1:] == right or left == right[1:] or (len(right) > 1 and left == swapped)
