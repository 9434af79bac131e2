"""Where arguments go: what only a run shows, and how far helpers are followed."""

from itertools import pairwise

import pytest
from contract_support import CONNECTOR, changed

from runtime.contract import Severity, check_paths


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("return await helper(self._http, item_id, user_jwt, correlation_id)", "what helper does with the client"),
        (
            "return await getattr(self._http, item_id)(user_jwt=user_jwt)",
            "which attribute getattr(self._http, item_id) is",
        ),
        (
            "return await self._http.get(item_id.path, user_jwt=user_jwt, correlation_id=correlation_id, decode=_item)",
            "the path of this call",
        ),
    ],
)
def test_what_only_a_run_shows_is_a_note(body, text, tmp_path):
    """A note says so, and fails nothing; no violation is claimed."""
    start = CONNECTOR.index("        return await self._http.call(\n            _GET_ITEM")
    end = CONNECTOR.index("        )\n", start) + len("        )\n")
    (tmp_path / "orders.py").write_text(CONNECTOR[:start] + f"        {body}\n" + CONNECTOR[end:])
    found = check_paths([tmp_path / "orders.py"], strict=True)
    assert f"cannot be verified without running it: {text}" in {
        one.message for one in found if one.severity is Severity.NOTE
    }
    assert not {one.rule for one in found if one.severity is Severity.ERROR}


def test_helpers_that_call_each_other_many_times_are_followed_to_a_bound(tmp_path):
    """Ten helpers that call the next one ten times each would be ten thousand million calls; a note says where it ends."""
    names = [f"_h{number}" for number in range(10)]
    lines = [
        f"def {one}(x: Any) -> Any:\n    return [{', '.join([f'{other}(x)'] * 10)}]\n"
        for one, other in pairwise([*names, "str"])
    ]
    text = changed(('json_body={"name": name}', 'json_body={"name": _h0(name)}'))
    (tmp_path / "orders.py").write_text(
        text.replace("_item = decoder(Item)", "\n".join([*lines, "_item = decoder(Item)"]), 1)
    )
    found = check_paths([tmp_path / "orders.py"])
    assert {one.severity for one in found} == {Severity.NOTE}
    assert "beyond 100 calls of functions" in " ".join(one.message for one in found)
