"""The contract check finds what the mutation run changes: the first place of each operator in each connector."""

import mutate_connectors
import pytest

pytestmark = pytest.mark.torture

FIRST = {(one.connector, one.operator): one for one in reversed(list(mutate_connectors.mutants()))}


@pytest.mark.parametrize("mutant", [pytest.param(one, id=f"{key[0]}-{key[1]}") for key, one in sorted(FIRST.items())])
def test_a_change_of_our_connectors_is_found(mutant, tmp_path):
    """`python3 .ci/tools/mutate_connectors.py` scores all places."""
    (tmp_path / "registry.py").write_text((mutate_connectors.CONNECTORS / "registry.py").read_text())
    assert mutate_connectors.rules(mutant, tmp_path)


def test_every_operator_fits_somewhere():
    """An operator that changes nothing would score nothing."""
    assert {operator for _, operator in FIRST} == set(mutate_connectors.OPERATORS)
