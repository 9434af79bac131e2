"""`python3 -m runtime check`: what it prints, its exit codes, and whole connectors."""

import json
import re
from itertools import pairwise

import pytest
import yaml
from contract_support import CONNECTOR, ROOT, TEMPLATE, changed, check

from benchmarks.contract_check import write_copies
from runtime.cli.check import main
from runtime.cli.main import COMMANDS
from runtime.cli.main import main as command
from runtime.contract import RULES, Severity, check_paths


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A folder with one error and one warning."""
    (tmp_path / "registry.py").write_text("Connector(ManagedOrdersConnector, MockOrdersConnector)\n")
    text = changed(("datetime.now(UTC)", "datetime.utcnow()"), ("import uuid", "import httpx\nimport uuid"))
    (tmp_path / "orders.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- whole connectors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["runtime/connectors", "examples"])
def test_our_own_connectors_keep_every_rule(folder):
    """No false alarm, not even with `--strict`, and nothing that cannot be verified."""
    assert check_paths([ROOT / folder], strict=True) == []


def test_the_template_breaks_no_rule_and_has_each_shortcoming_named(tmp_path):
    """The contract is binding: what its own template does is a warning, and the exit code is 0."""
    path = tmp_path / "service.py"
    path.write_text(TEMPLATE)
    found = check_paths([path])
    assert [one for one in found if one.severity is Severity.ERROR] == []
    assert {one.rule for one in found if one.severity is Severity.WARNING} == {
        *("CC107", "CC304", "CC401", "CC402", "CC403", "CC404", "CC405"),
    }
    assert [one.rule for one in found if one.severity is Severity.NOTE] == ["CC305"]
    lines = TEMPLATE.splitlines()
    assert {lines[one.line - 1].strip() for one in found if one.rule == "CC402"} == {
        'return [ServiceItem(**item) for item in response.get("items", [])]',
        "return ServiceItem(**response)",
    }
    assert {lines[one.line - 1].strip() for one in found if one.rule in {"CC403", "CC404"}} == {
        "created_at=datetime.utcnow()",
        'return response.get("success", False)',
    }
    assert len([one for one in found if one.rule == "CC401"]) == 3


def test_the_template_fails_under_strict(tmp_path, capsys):
    """`--strict` counts warnings as errors."""
    (tmp_path / "service.py").write_text(TEMPLATE)
    assert main([str(tmp_path)]) == 0
    assert main([str(tmp_path), "--strict"]) == 1
    assert "CC402 [warning]" in capsys.readouterr().out


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


# --- output ---------------------------------------------------------------------------------------------------------


def test_text_is_like_ruffs(broken, capsys):
    """File, line, column, rule, what is wrong and what to do."""
    assert main(["."]) == 1
    lines = capsys.readouterr().out.splitlines()
    line = broken.joinpath("orders.py").read_text().splitlines().index("import httpx") + 1
    assert lines[0] == (
        f"orders.py:{line}:1: CC202 imports httpx: calls go through self._http. {RULES['CC202'].remedy}"
    )
    assert re.fullmatch(r"orders\.py:\d+:\d+: CC403 \[warning\] datetime\.utcnow\(\) has no time zone\. .+", lines[1])
    assert lines[2:] == ["Found 1 error, 1 warning."]


def test_json(broken, capsys):
    """One record per finding."""
    assert main([".", "--json"]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert first["code"] == "CC202"
    assert first["severity"] == "error"
    assert first["filename"] == "orders.py"
    assert first["location"]["column"] == 1
    assert second["code"] == "CC403"
    assert second["severity"] == "warning"
    assert second["name"] == "times-have-a-zone"


def test_sarif(broken, capsys):
    """SARIF 2.1.0: each result refers to its rule, by relative URI."""
    assert main([".", "--sarif"]) == 1
    document = json.loads(capsys.readouterr().out)
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert document["version"] == "2.1.0"
    assert [(one["ruleId"], one["level"]) for one in run["results"]] == [("CC202", "error"), ("CC403", "warning")]
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"])
    assert {one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in run["results"]} == {
        "orders.py"
    }


def test_github(broken, capsys):
    """Workflow commands, with the separators of properties and lines escaped."""
    (broken / "a,b%.py").write_text("x = (\n")
    assert main([".", "--format", "github"]) == 1
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("::error title=CC900 file-can-be-read,file=a%2Cb%25.py,line=1,col=1::cannot be read: ")
    assert second.startswith("::error title=CC202 no-hard-coded-urls,file=orders.py,line=")
    assert third.startswith("::warning title=CC403")


def test_output_file(broken, capsys):
    """Annotations and SARIF are written where a later step of a pipeline reads them."""
    assert main([".", "--sarif", "--output", "found.sarif"]) == 1
    assert capsys.readouterr().out == ""
    assert json.loads((broken / "found.sarif").read_text())["version"] == "2.1.0"


def test_nothing_to_report(tmp_path, capsys):
    """Exit code 0; a folder without connectors has nothing that could break a rule."""
    (tmp_path / "other.py").write_text("class Managed:\n    pass\n")
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "All checks passed.\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(["no-such-file.py"], "no such file or folder: no-such-file.py"), (["--explain", "CC999"], "no such rule: CC999")],
)
def test_wrong_usage_is_exit_code_2(arguments, text, capsys):
    """Wrong usage is no failed check."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_explained(rule, capsys):
    """Source, reason and remedy."""
    assert main(["--explain", rule.lower()]) == 0
    shown = capsys.readouterr().out
    assert all(
        text in shown for text in (rule, RULES[rule].name, RULES[rule].source, RULES[rule].why, RULES[rule].remedy)
    )


def test_ids_follow_the_order_of_the_contract():
    """Seven DOs, four DON'Ts."""
    assert list(RULES) == sorted(RULES)
    assert [RULES[f"CC10{number}"].source[:5] for number in range(1, 8)] == [f"DO {number}:" for number in range(1, 8)]
    assert [RULES[f"CC20{number}"].source[:8] for number in range(1, 5)] == [
        f"DON'T {number}:" for number in range(1, 5)
    ]
    contract = (ROOT / "docs/connector-contract.md").read_text().replace("**", "").lower()
    for rule in RULES.values():
        if rule.id < "CC3":
            assert rule.source.partition(": ")[2].rstrip(".").lower() in contract


def test_the_documentation_lists_every_rule():
    """docs/contract-check.md has a row for each, with its name."""
    page = (ROOT / "docs" / "contract-check.md").read_text()
    assert dict(re.findall(r"^\| (CC\d{3}) \| ([a-z-]+) \|", page, re.MULTILINE)) == {
        one.id: one.name for one in RULES.values()
    }


def test_the_pre_commit_hook_calls_the_command():
    """The hook's entry is the console script, with a command that there is."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["entry"] == "mozaiks-runtime check"
    assert COMMANDS["check"].module == "runtime.cli.check"


# --- what cannot be known, and suppressions ---------------------------------------------------------------------------


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


def test_a_suppression_suppresses_its_rule_alone(tmp_path):
    """Another rule on the same line is reported."""
    line = "        self._http = http\n"
    call = "        self._last = datetime.utcnow()  # contract: ignore[CC203] read by the support team's tool\n        return await self._http.page("
    found = check(tmp_path, changed(("        return await self._http.page(", call), (line, line)))
    assert [one.rule for one in found] == ["CC403"]


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


def test_a_suppression_below_a_form_feed_is_on_its_line(tmp_path):
    """Python does not end a line at a form feed, or at U+2028."""
    call = "        self._last = 1  # contract: ignore[CC203] read by the support team's tool\n        return await self._http.page("
    text = changed(("        return await self._http.page(", call), ("import uuid", "\x0cimport uuid  # \u2028"))
    assert check(tmp_path, text) == []


def test_the_command_needs_no_environment(broken, monkeypatch):
    """A check needs no dependency, so it sets no environment up."""
    monkeypatch.setattr("runtime.cli.bootstrap.enter_environment", lambda *_: pytest.fail("an environment is set up"))
    assert command(["check", "."]) == 1


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


def test_nothing_is_executed(tmp_path):
    """A checked file is parsed, never imported."""
    marker = tmp_path / "ran"
    check(tmp_path, f"open({str(marker)!r}, 'w').close()\n{CONNECTOR}")
    assert not marker.exists()
