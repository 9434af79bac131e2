"""The contract check finds what the mutation run changes: the first place of each operator."""

import functools

import mutate_connectors
import pytest

pytestmark = pytest.mark.torture


@functools.cache
def _first_places():
    """By operator; not at the import of this file, which every run of tests pays for."""
    found = {}
    for one in mutate_connectors.mutants():
        found.setdefault(one.operator, one)
        if len(found) == len(mutate_connectors.OPERATORS):
            break
    return found


@pytest.mark.parametrize("operator", sorted(mutate_connectors.OPERATORS))
def test_a_change_of_our_connectors_is_found(operator, tmp_path):
    """Each operator fits somewhere; `python3 .ci/tools/mutate_connectors.py` scores all places."""
    (tmp_path / "registry.py").write_text((mutate_connectors.CONNECTORS / "registry.py").read_text())
    assert mutate_connectors.rules(_first_places()[operator], tmp_path)


@pytest.mark.parametrize("operator", ["drop a forwarded keyword", "raise in a mock", "raw dict returned"])
def test_what_the_check_would_not_find_is_run(operator):
    """By the generated tests of the changed connector; the one that is not changed passes them."""
    text = (mutate_connectors.CONNECTORS / "service.py").read_text()
    place, changed = next(iter(mutate_connectors.OPERATORS[operator](mutate_connectors.File(text))))
    mutant = mutate_connectors.Mutant("service", operator, place, changed)
    assert mutate_connectors.failed_tests(mutant)
    assert mutate_connectors.failed_tests(mutant._replace(text=text)) == []
