"""What a changed document means for a connector, by its source."""

import json
from pathlib import Path

import pytest
from compare_support import (
    CONNECTOR,
    at,
    change_all,
    changed,
    diffed,
    item,
    ref,
)

from runtime.cli import diff


def line_of(text):
    return next(number for number, line in enumerate(CONNECTOR.splitlines(), 1) if text in line)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder to run the command in."""
    monkeypatch.chdir(tmp_path)
    return diffed


def test_a_connector_is_judged_by_its_source(files, capsys):
    """What it calls, reads and sends: a field that it does not read may go, and a parameter that it sends may come."""
    assert files(change_all, "items.py", "--json") == 1
    found = {one["method"]: one for one in json.loads(capsys.readouterr().out)["methods"]}
    listed = {(one["code"], one["message"], one["row"]) for one in found["list_items"]["changes"]}
    line, model = line_of("_LIST ="), line_of("class Item")
    assert listed == {
        ("OD107", "response 200 `[].state` is gone", line),  # it reads it as `label`
        ("OD201", "header `X-Tenant` is not sent", line),
        ("OD201", "query `ids` is not sent", line),
        ("OD201", "query `zone` is not sent", line),
        ("OD202", "response `[].codes` is not read", model),
        ("OD202", "response `[].made` is not read", model),
    }
    assert [(one["code"], one["row"]) for one in found["create_item"]["changes"]] == [
        ("OD107", line_of("_CREATE =")),  # how it reads the response is not known
        ("OD107", line_of("_CREATE =")),
        ("OD201", line_of("class NewItem")),
        ("OD201", line_of("class NewItem")),
    ]
    assert found["delete_item"]["changes"][0]["code"] == "OD101"
    assert found["older"]["changes"][0]["message"] == "the operation is in neither document"
    assert {one["filename"] for one in found.values() if one["row"]} == {"items.py"}


@pytest.mark.parametrize(
    "annotation", ["list[Part] | None", "Optional[List[Part]]", '"list[Part] | None"', 'None | list["Part"]']
)
def test_annotations_are_read_however_they_are_written(tmp_path, monkeypatch, capsys, annotation):
    """A field of an item that is not read may go, and one that is there and not read is listed."""
    monkeypatch.chdir(tmp_path)
    Path("part.py").write_text(
        "from dataclasses import dataclass\nfrom typing import List, Optional\n"
        "from runtime.connectors.base import Endpoint, decoder\n\n\n"
        "@dataclass\nclass Part:\n    id: int\n    made: Optional[str] = None\n    parts: 'List[Part] | None' = None\n\n\n"
        f"@dataclass\nclass Item:\n    id: int\n    parts: {annotation} = None\n\n\n"
        'E = Endpoint("GET", "/api/items", "list_items", decoder(list[Item]))\n'
    )

    new = changed(lambda root: item(root, "codes").update(items=ref("Item")))
    properties = at(new, "components", "schemas", "Item", "properties")
    properties["parts"] = properties.pop("codes")
    Path("old.json").write_text(json.dumps(new))
    del properties["name"]
    Path("new.json").write_text(json.dumps(new))
    assert diff.main(["old.json", "new.json", "part.py", "--json"]) == 0
    (found,) = (one for one in json.loads(capsys.readouterr().out)["methods"] if one["filename"])
    assert "response `[].parts[].state` is not read" in [one["message"] for one in found["changes"]]


def test_what_no_connector_calls_does_not_break_it(files, capsys):
    """A connector of the remaining operations is fine."""
    Path("part.py").write_text(
        'from runtime.connectors.base import Endpoint\nE = Endpoint("GET", "/api/items", "all", f)\n'
    )
    assert files(lambda root: root["paths"].pop("/api/items/{id}"), "part.py") == 0
    assert "compatible: delete_item (DELETE /api/items/{id})\n  OD205" in capsys.readouterr().out


def test_connectors_of_other_services_are_left_out(files, capsys):
    """Their operations are in no document."""
    Path("other.py").write_text('from runtime.connectors.base import Endpoint\nE = Endpoint("GET", "/api/x", "x", f)\n')
    assert files(lambda _: None, "other.py", "items.py", "--json") == 1
    methods = [one["method"] for one in json.loads(capsys.readouterr().out)["methods"]]
    assert "older" in methods
    assert "x" not in methods
    with pytest.raises(SystemExit, match="2"):
        files(lambda _: None, "other.py")
