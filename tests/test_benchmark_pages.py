"""The tables and pictures that benchmarks write into the documentation are those of the committed results."""

import json
import re
from pathlib import Path

from benchmarks import compare, faults
from benchmarks.fault_verdicts import FAULTS
from benchmarks.performance_chart import LEFT_OUT, chart

DOCS = Path(__file__).parents[1] / "docs"


def test_the_table_of_faults_is_that_of_the_results():
    """After a change of its words: `python3 benchmarks/faults.py --redraw`."""
    results = json.loads(faults.RESULTS.read_text())
    assert faults.markdown(results) in (DOCS / "is-it-for-you.md").read_text()
    assert all(list(row["faults"]) == [fault.key for fault in FAULTS] for row in results["clients"].values())


def test_the_tables_and_pictures_of_performance_are_those_of_the_results():
    """After a change of their form: `python3 benchmarks/compare.py --redraw`."""
    results = json.loads(compare.RESULTS.read_text())
    assert compare.markdown(results) in (DOCS / "performance.md").read_text()
    assert (DOCS / "performance.svg").read_text() == chart(results, columns=2)
    assert (DOCS / "performance-narrow.svg").read_text() == chart(results, columns=1)


def test_each_panel_of_the_picture_is_sorted_and_ours_has_the_colour():
    """One panel for each concurrency, the cheapest client first; a candidate that was not chosen is not drawn."""
    costs = {"stack on a": 500.0, "httpx": 9000.0, "aiohttp": 100.0, LEFT_OUT: 700.0}
    rows = {name: {"cpu_us": cost} for name, cost in costs.items()}
    drawn = chart({"table": {"1": rows, "64": rows}}, columns=1)
    assert re.findall(r'class="(?:own)?" x="14" y="\d+">([^<]+)<', drawn) == ["aiohttp", "stack on a", "httpx"] * 2
    assert re.findall(r'<rect class="(ours|other)"', drawn) == ["other", "ours", "other"] * 2
    assert re.findall(r'class="title"[^>]*>([^<]+)<', drawn) == ["1 at a time", "64 at a time"]
