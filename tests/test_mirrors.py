"""Each module of `runtime` has a test file that is named after it, or is in a list with the file that tests it."""

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Module -> the file that tests it: what has no tests of its own, since all that it does shows in another module.
TESTED_IN = {
    # Arguments, texts and pages of commands, by what the command prints.
    "runtime/cli/config_settings.py": "tests/cli/test_config_show.py",
    "runtime/cli/findings_options.py": "tests/internal/test_findings.py",
    "runtime/cli/story.py": "tests/cli/test_demo.py",
    "runtime/compare/report.py": "tests/cli/test_diff.py",
    "runtime/forecast/charts.py": "tests/cli/test_config_explain.py",
    "runtime/forecast/explain.py": "tests/cli/test_config_explain.py",
    "runtime/forecast/page.py": "tests/cli/test_config_simulate.py",
    "runtime/forecast/report.py": "tests/cli/test_config_explain.py",
    # Rules, by each kind of violation.
    "runtime/compare/rules.py": "tests/compare/test_compare_operations.py",
    "runtime/compare/schemas.py": "tests/compare/test_compare_operations.py",
    "runtime/contract/__init__.py": "tests/contract/test_contract_source.py",
    "runtime/contract/checks.py": "tests/contract/test_contract_rules.py",
    "runtime/contract/triples.py": "tests/contract/test_contract_rules.py",
    # What is read, run or spoken by the one module that uses it.
    "runtime/adapters/core_logs.py": "tests/adapters/test_core_payment.py",
    "runtime/conformance/__init__.py": "tests/conformance/test_conformance_suite.py",
    "runtime/conformance/scenario.py": "tests/conformance/test_conformance_suite.py",
    "runtime/conformance/subject.py": "tests/conformance/test_conformance_suite.py",
    "runtime/connectors/discovery.py": "tests/connectors/test_scenarios.py",
    "runtime/connectors/health.py": "tests/adapters/test_status_page.py",
    "runtime/forecast/simulated_transport.py": "tests/forecast/test_simulate.py",
    "runtime/gateway/dialects.py": "tests/connectors/test_scenarios.py",
    "runtime/gateway/store.py": "tests/gateway/test_routes.py",
    "runtime/openapi/model.py": "tests/openapi/test_reading.py",
}


def has_code(path):
    """Whether a module has a function or a class: others are names, constants, and paths that moved."""
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in ast.walk(tree_of(path))
    )


def tree_of(path):
    return ast.parse(path.read_text())


def modules():
    """Every module with code, relative to the project."""
    found = sorted((ROOT / "runtime").rglob("*.py"))
    return [path.relative_to(ROOT) for path in found if has_code(path)]


def mirrors(module):
    """Where the tests of *module* may be: `tests/<room>/test_<module>.py`, or `test_<room>_<module>.py` there."""
    rooms = [room.strip("_") for room in module.parent.parts[1:]]
    stem = module.stem.strip("_")
    return [Path("tests", *rooms, f"test_{name}.py") for name in dict.fromkeys((stem, "_".join((*rooms, stem))))]


def has_mirror(module):
    return any((ROOT / path).exists() for path in mirrors(module))


def names_in(path):
    """What a test file imports, by its full name, and the words of its docstring."""
    tree = tree_of(path)
    names = set((ast.get_docstring(tree) or "").replace("`", " ").split())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
    return names


def test_each_module_has_a_test_file():
    """One that is named after it, else a line above."""
    without = [str(one) for one in modules() if not has_mirror(one) and str(one) not in TESTED_IN]
    assert without == [], "no test file: add one of those that `mirrors` names, or a line to TESTED_IN"


def test_no_line_of_the_list_is_stale():
    """Neither for a module that is gone, or has no code, nor for one that has a test file of its name."""
    known = {str(one) for one in modules()}
    assert [one for one in TESTED_IN if one not in known] == []
    assert [one for one in TESTED_IN if has_mirror(Path(one))] == []


def test_what_is_listed_names_its_module():
    """The file is there, and imports the module or names it in its docstring."""
    assert [path for path in TESTED_IN.values() if not (ROOT / path).exists()] == []
    dotted = {module: module.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for module in TESTED_IN}
    unnamed = [
        f"{path}: {dotted[module]}" for module, path in TESTED_IN.items() if dotted[module] not in names_in(ROOT / path)
    ]
    assert unnamed == []


def test_no_two_test_files_have_the_same_name():
    """Pytest imports them by that name."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, times in names.items() if times > 1] == []
