#!/usr/bin/env python3
"""
What is shipped, and what it brings along: `supply_chain.py DIRECTORY`.

Builds wheel and sdist twice and compares them, byte by byte. Resolves the wheel with the extras that are installed in
production, and writes the software bill of materials (CycloneDX 1.6) and the list of licences to DIRECTORY. A release
that its index has yanked is an error, there and in requirements.lock.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = "otel,fast,aiohttp,cli,gateway"
BUILD = ("build>=1.2,<2", "hatchling>=1.25,<2")
TOOLS = ("cyclonedx-bom>=7,<8", "pip-licenses>=5,<6")


def main() -> int:
    """Run all checks; returns 1 when one fails."""
    (where,) = sys.argv[1:]
    directory = Path(where)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        tools, installed = environment(work / "tools", *BUILD, *TOOLS), environment(work / "installed")
        first, second = (build(tools, work / name) for name in ("first", "second"))
        for name in sorted(first):
            print(f"{first[name]}  {name}")
        different = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
        (wheel,) = (work / "first").glob("*.whl")
        report = resolved(installed, f"{wheel}[{EXTRAS}]")
        locked = resolved(
            tools, "--dry-run", "--ignore-installed", "--require-hashes", "-r", ROOT / "requirements.lock"
        )
        sbom = directory / "sbom.cdx.json"
        run(tools.parent / "cyclonedx-py", "environment", "--output-reproducible", "-o", sbom, installed)
        licences = run(tools.parent / "pip-licenses", "--python", installed, "--format", "markdown", "--order", "name")
        (directory / "licences.md").write_text(licences, "utf-8")
    yanked = sorted({*yanked_in(report), *yanked_in(locked)})
    components = len(json.loads(sbom.read_text("utf-8"))["components"])
    print(
        f"{components} components in {sbom}; {len(report['install'])} releases resolved, "
        f"{len(locked['install'])} in the lock, {len(yanked)} yanked"
    )
    for problem in (*(f"{name}: two builds differ" for name in different), *(f"{name}: yanked" for name in yanked)):
        print(problem, file=sys.stderr)
    return 1 if different or yanked else 0


def environment(path: Path, *requirements: str) -> Path:
    """Make an environment with *requirements*; returns its Python."""
    venv.create(path, with_pip=True)
    python = path / "bin" / "python"
    if requirements:
        run(python, "-m", "pip", "install", "--quiet", *requirements)
    return python


def build(python: Path, target: Path) -> dict[str, str]:
    """Build wheel and sdist; returns the digest of each file."""
    run(python, "-m", "build", "--no-isolation", "--outdir", target, ROOT)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in target.iterdir()}


def resolved(python: Path, *arguments: object) -> dict[str, Any]:
    """Let pip install by *arguments*; returns its report of what that took."""
    report = python.parent.parent / "report.json"
    run(python, "-m", "pip", "install", "--quiet", "--report", report, *arguments)
    found: dict[str, Any] = json.loads(report.read_text("utf-8"))
    return found


def yanked_in(report: dict[str, Any]) -> list[str]:
    """Return name and version of each release in pip's *report* that its index has yanked."""
    entries = (entry["metadata"] for entry in report["install"] if entry.get("is_yanked"))
    return sorted(f"{metadata['name']} {metadata['version']}" for metadata in entries)


def run(*command: object) -> str:
    """Run *command*; returns its output."""
    return subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
