"""Public names stay: nothing that hosts, dashboards and alerts depend on appears or goes by accident."""

import json

import public_names


def test_public_names_are_those_of_the_committed_list():
    """A name added or removed on purpose: `python3 .ci/tools/public_names.py --write`, and a line in CHANGELOG.md."""
    assert public_names.public_names() == json.loads(public_names.FILE.read_text())
