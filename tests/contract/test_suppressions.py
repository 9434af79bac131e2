"""Comments that suppress a finding."""

from contract_support import changed, check


def test_a_suppression_suppresses_its_rule_alone(tmp_path):
    """Another rule on the same line is reported."""
    line = "        self._http = http\n"
    call = "        self._last = datetime.utcnow()  # contract: ignore[CC203] read by the support team's tool\n        return await self._http.page("
    found = check(tmp_path, changed(("        return await self._http.page(", call), (line, line)))
    assert [one.rule for one in found] == ["CC403"]


def test_a_suppression_below_a_form_feed_is_on_its_line(tmp_path):
    """Python does not end a line at a form feed, or at U+2028."""
    call = "        self._last = 1  # contract: ignore[CC203] read by the support team's tool\n        return await self._http.page("
    text = changed(("        return await self._http.page(", call), ("import uuid", "\x0cimport uuid  # \u2028"))
    assert check(tmp_path, text) == []
