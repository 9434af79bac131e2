"""docs/observability.md says what the code says."""

import re
import runpy
from pathlib import Path

from runtime.traces.model import traces_of
from runtime.traces.trace_file import SpanReader

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "observability.md"


def test_the_tables_are_the_codes_own():
    """Names, meanings, units, levels and attributes; `python3 .ci/tools/observability_tables.py --write` brings them up to date."""
    tables = runpy.run_path(str(ROOT / ".ci" / "tools" / "observability_tables.py"))
    assert tables["filled"](DOCUMENT.read_text()) == DOCUMENT.read_text()
    # Every name has its meaning, and each is in a table.
    names = tables["documented"]()
    text = DOCUMENT.read_text()
    for name, (value, said) in names.items():
        if name not in {"SCOPE", "SCHEMA_URL"}:
            assert said, name
            assert f"`{value}`" in text, name


def test_the_pictures_and_files_it_names_exist():
    """No link leads nowhere, and every picture is used."""
    linked = set(re.findall(r"\]\(([^)#:]+)\)", DOCUMENT.read_text()))
    assert all((DOCUMENT.parent / target).exists() for target in linked)
    assert {f"traces/{path.name}" for path in (DOCUMENT.parent / "traces").iterdir()} == linked


def test_the_pictures_are_drawn_from_the_file_beside_them():
    """Trace ids of the pictures are those of the file."""
    with (DOCUMENT.parent / "traces" / "stories.jsonl").open("rb") as file:
        traces = traces_of(SpanReader().read(file))
    for trace in traces:
        (name,) = trace.correlation_ids
        picture = DOCUMENT.parent / "traces" / f"{name}.svg"
        assert name == "opening" or trace.trace_id in picture.read_text()
    assert len(traces) == 9


async def test_the_servers_example_runs(no_settings):
    """Both states are there, and all of it ends."""
    (block,) = [
        block for block in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL) if "def own(" in block
    ]
    namespace = {}
    exec(block, namespace)  # noqa: S102 - our own document
    app = namespace["app"]
    async with app.router.lifespan_context(app) as state:
        assert state["connectors"].mode == "self_hosted"
        assert state["greeting"] == "hello"
