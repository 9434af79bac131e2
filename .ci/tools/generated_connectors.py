"""
Connectors from the real documents in tests/openapi: a table of what each has, and with --prove every check of each.

Each of their operations is called once on the reference gateway, which serves the document: see generated_calls.py.

    python3 .ci/tools/generated_connectors.py                  # the table in docs/generate.md
    python3 .ci/tools/generated_connectors.py --prove          # contract check, ruff, mypy, pyright, their tests
    python3 .ci/tools/generated_connectors.py --prove catalog  # of some
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from runtime.generate import Options, changes, connector_files, make_plan, write
from runtime.openapi import load, read

DOCUMENTS = {
    "catalog": "eshop-catalog-aspnet10",
    "catalog_nine": "eshop-catalog-aspnet9",
    "coffee_card": "coffeecard-nswag13",
    "data_types": "datatypes-aspnet9",
    "fast_endpoints": "fastendpoints-nswag14",
    "monitor": "dotnet-monitor-swashbuckle6",
    "orchestrator": "uipath-orchestrator-export2",
}


def made(name):
    """Read a document and plan its connector: the plan, and how long it took with the writing."""
    began = time.perf_counter()
    plan = make_plan(read(load(ROOT / f"tests/openapi/{DOCUMENTS[name]}.json")), Options(name))
    files = connector_files(plan)
    return plan, files, time.perf_counter() - began


def written(name, folder):
    """Write the connector into *folder*: its plan, and how long reading and planning took."""
    plan, files, seconds = made(name)
    list(write(folder / name, changes(folder / name, files)))
    return plan, seconds


def called(name, folder):
    """Call every operation of a written connector: how many calls, how many succeeded, and what is wrong."""
    document = ROOT / f"tests/openapi/{DOCUMENTS[name]}.json"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder / name)])}
    command = [sys.executable, ROOT / ".ci/tools/generated_calls.py", name, document]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.stdout else {"calls": 0, "succeeded": 0, "wrong": {"": done.stderr[-4000:]}}


def table(names, folder):
    """Return the table as Markdown."""
    lines = ["| document | operations | of | models | enums | not as documented | formal errors | calls read |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in names:
        plan, _ = written(name, folder)
        calls = called(name, folder)
        row = [len(plan.methods), len(plan.api.operations), len(plan.models), len(plan.enums)]
        row += [len(plan.left_out), len(plan.notes), f"{calls['succeeded']} of {calls['calls']}"]
        lines.append(f"| {DOCUMENTS[name]}.json | {' | '.join(map(str, row))} |")
    return "\n".join(lines)


def prove(names, folder):
    """Return the checks that failed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MOZAIKS_VENV": "none"}
    failed = []

    def run(label, command, where=folder):
        began = time.perf_counter()
        done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
        print(f"{label:<28} {'ok' if done.returncode == 0 else 'FAILED'}  {time.perf_counter() - began:.1f} s")
        if done.returncode:
            failed.append(label)
            print((done.stdout + done.stderr)[-4000:])

    python, tools = sys.executable, Path(sys.executable).parent
    for name in names:
        plan, seconds = written(name, folder)
        print(f"{name}: {len(plan.methods)} operations in {seconds:.2f} s")
        run(f"{name}: check --strict", [python, "-m", "runtime", "check", name, "--strict"])
    config = str(ROOT / "pyproject.toml")
    run("ruff check", [tools / "ruff", "check", "--config", config, *names])
    run("ruff format", [tools / "ruff", "format", "--check", "--config", config, *names])
    environment["MYPYPATH"] = os.pathsep.join([str(ROOT), *(str(folder / name) for name in names)])
    sources = [
        path for name in names for path in (f"{name}/{name}_connector", f"{name}/tests/test_{name}_connector.py")
    ]
    run("mypy --strict", [python, "-m", "mypy", "--strict", "--config-file=", *sources])
    if (tools / "pyright").exists():
        for name in names:
            environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(folder / name)])
            run(f"{name}: pyright", [tools / "pyright", "--pythonpath", python, name])
        environment["PYTHONPATH"] = str(ROOT)
    else:
        print("pyright is not installed: left out")
    for name in names:
        calls = called(name, folder)
        print(f"{name + ': calls':<28} {calls['succeeded']} of {calls['calls']}")
        if calls["wrong"] or calls["calls"] == 0:
            failed.append(f"{name}: calls")
            print("\n".join(f"  {method}: {text}" for method, text in calls["wrong"].items()))
    for name in names:
        run(f"{name}: its tests", [python, "-m", "pytest", "-q", "-p", "runtime.conformance.plugin"], folder / name)
    return failed


def main():
    """Print the table, or prove each connector."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*DOCUMENTS, []], metavar="NAME")
    parser.add_argument("--prove", action="store_true")
    options = parser.parse_args()
    names = options.names or list(DOCUMENTS)
    with tempfile.TemporaryDirectory() as folder:
        if options.prove:
            return 1 if prove(names, Path(folder).resolve()) else 0
        print(table(names, Path(folder).resolve()))
        return 0


if __name__ == "__main__":
    sys.exit(main())
