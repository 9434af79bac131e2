"""The tools of `.ci/tools`: each module of the product is in their lists."""

import ast
import itertools
import tomllib
from pathlib import Path

import mutate
import pytest
import remove_layers
import supply_chain
import warm_get

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("path", mutate.modules())
def test_the_mutation_run_scores_a_module_or_says_why_not(path):
    """A new module is scored, or left out with a reason."""
    assert mutate.is_scored(path) or mutate.in_any(path, mutate.LEFT_OUT)


@pytest.mark.parametrize("pattern", [*mutate.LEFT_OUT])
def test_what_the_mutation_run_leaves_out_exists(pattern):
    """A reason goes with the module that it is about."""
    assert any(mutate.in_any(path, [pattern]) for path in mutate.modules())


@pytest.mark.torture
def test_every_excuse_excuses_a_change():
    """The comment goes with the line; the tool reports one that stayed behind."""
    assert mutate.unused_excuses() == []


@pytest.mark.parametrize(
    ("source", "excused"),
    [
        ("x = 1  # equivalent: why", {"2", "0"}),
        ("x = 1  # equivalent: `2`: why", {"2"}),
        ("x = 1  # equivalent: `2`, `0`: why", {"2", "0"}),
        ("# equivalent: `0`: why\n# equivalent: `2`: another why\nx = 1", {"2", "0"}),
        ("x = 1  # R15  # equivalent: `stop` sets it: why", {"2", "0"}),
        ("x = 1  # R15", set()),
        ("x = 1\ny = 'a'  # equivalent: why", {"'a~'"}),
    ],
)
def test_what_an_excuse_covers(tmp_path, monkeypatch, source, excused):
    """All changes of its line, or those whose changed text it names."""
    (tmp_path / "m.py").write_text(source)
    monkeypatch.setattr(mutate, "ROOT", tmp_path)
    excuses = mutate.excuses_of("m.py")
    assert {one.after for one in mutate.mutants_of("m.py") if any(excuse.covers(one) for excuse in excuses)} == excused


@pytest.mark.parametrize(
    ("source", "stale"),
    [
        ("x = y  # equivalent: why", ["middleware/m.py:1"]),
        ("x = 1  # equivalent: `3`: why", ["middleware/m.py:1 `3`"]),
        ("x = 1  # equivalent: `2`, `3`: why", ["middleware/m.py:1 `3`"]),
        ("x = 1  # equivalent: `2`, `0`: why", []),
    ],
)
def test_an_excuse_that_excuses_nothing_is_reported(tmp_path, monkeypatch, source, stale):
    """With its place, and the texts that no change has."""
    (tmp_path / "middleware").mkdir()
    (tmp_path / "middleware" / "m.py").write_text(source)
    monkeypatch.setattr(mutate, "ROOT", tmp_path)
    assert mutate.unused_excuses() == stale


def test_every_layer_is_one_that_is_removed():
    """Each class of a layer is used in stack.py, and its list of layers is found."""
    source = ast.parse(remove_layers.STACK.read_text())
    used = {node.id for node in ast.walk(source) if isinstance(node, ast.Name)}
    layers = {
        node.name
        for path in (ROOT / "middleware").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Middleware") and path.name != "types.py"
    }
    assert layers - used == set()
    assert len(remove_layers.layers()) >= len(layers)


async def test_a_warm_get_is_profiled():
    """The connector's own method, each layer and the generated `__init__` of a record are among what ran."""
    found = await warm_get.profile(lambda connector: connector.list_items())
    assert "ManagedServiceConnector.list_items" in found.functions["runtime/connectors/service.py"]
    assert {"middleware.events.FanOut", "middleware.types.PlatformRequest"} <= found.classes


def test_a_library_below_version_1_has_an_upper_bound():
    """Its next minor release may change anything."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    young = [line for line in lines if ">=0." in line]
    assert len(young) > 8
    assert [line for line in young if "<1" not in line and "==0.*" not in line] == []


def test_a_yanked_release_is_found_in_pips_report():
    """By the key that pip writes for it."""
    install = [
        {"metadata": {"name": "a", "version": "1"}, "is_yanked": True},
        {"metadata": {"name": "b", "version": "2"}, "is_yanked": False},
        {"metadata": {"name": "c", "version": "3"}},
    ]
    assert supply_chain.yanked_in({"install": install}) == ["a 1"]
