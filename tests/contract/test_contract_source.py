"""Files that are checked: whatever is in them, the check ends, and none is executed."""

import pytest
from contract_support import CONNECTOR, changed, check

from benchmarks.contract_check import write_copies
from runtime.contract import check_paths


@pytest.mark.torture
def test_thirty_connectors_are_read_once_each(tmp_path, monkeypatch):
    """The work grows with the number of files: ours under five names, each parsed once."""
    import ast

    parsed = []
    real = ast.parse
    monkeypatch.setattr(
        "runtime.contract.source.ast.parse",
        lambda *args, **options: (parsed.append(options.get("filename")), real(*args, **options))[1],
    )
    write_copies(tmp_path, 5)
    assert check_paths([tmp_path], strict=True) == []
    files = [name for name in parsed if name and name.endswith(".py")]
    assert len(files) == len(set(files)) == 31


def test_a_file_of_another_encoding_is_a_finding(tmp_path):
    """A file that cannot be read is reported, and the others are checked."""
    (tmp_path / "a.py").write_bytes(b"x = '\xff'\n")
    assert [one.rule for one in check(tmp_path)] == ["CC900"]


def test_modules_that_import_each_other_are_checked(tmp_path):
    """Imports in a circle, a class that inherits from itself, an alias of itself: the check ends."""
    files = {"a.py": "from .orders import Item\nfrom .a import a\nx = x\n\n\nclass A(A):\n    pass\n"}
    assert check(tmp_path, changed(("import uuid", "import uuid\n\nfrom .a import A")), files) == []


def test_an_expression_of_a_thousand_terms_is_a_finding(tmp_path):
    """The check ends with a finding, not with a traceback."""
    text = " + ".join(["'x'"] * 3000)
    found = check(tmp_path, changed(('json_body={"name": name}', f'json_body={{"name": name + {text}}}')))
    assert "CC900" in {one.rule for one in found}
    assert "nested too deeply" in " ".join(one.message for one in found)


def test_a_chain_of_a_thousand_calls_is_a_finding(tmp_path):
    """Also where it is followed for declarations, before any rule."""
    text = "x = a" + ".b('x')" * 800 + "\n"
    assert "CC900" in {one.rule for one in check(tmp_path, CONNECTOR + text)}


@pytest.mark.parametrize("quoted", ["list[", "", "x = 1", "li\\x00st", "list[" * 300], ids=range(5))
def test_a_quoted_annotation_that_is_none_is_a_finding(quoted, tmp_path):
    """The file is Python, its annotation is not."""
    found = check(tmp_path, CONNECTOR.replace(") -> Item:", f") -> '{quoted}':"))
    assert {one.rule for one in found} == {"CC104"}
    assert "which is no type" in found[0].message


def test_a_quoted_annotation_may_begin_with_a_space(tmp_path):
    """As for a type checker."""
    assert check(tmp_path, CONNECTOR.replace(") -> Item:", ") -> ' Item':")) == []


def test_odd_lists_of_endpoints_and_decorators_end_in_findings(tmp_path):
    """A listed path without a slash, and a partial of nothing as a decorator."""
    assert "CC304" in {
        one.rule for one in check(tmp_path, CONNECTOR.replace("Endpoints:", "Endpoints:\n- GET x, /y", 1))
    }
    text = CONNECTOR.replace("import uuid", "import functools\nimport uuid", 1)
    text = text.replace("@dataclass\nclass Line:", "_model = functools.partial()\n\n\n@_model\nclass Line:", 1)
    assert [one.rule for one in check(tmp_path, text)] == ["CC101"]


def test_nothing_is_executed(tmp_path):
    """A checked file is parsed, never imported."""
    marker = tmp_path / "ran"
    check(tmp_path, f"open({str(marker)!r}, 'w').close()\n{CONNECTOR}")
    assert not marker.exists()
