"""
The connector contract as static rules: what `python3 -m runtime check` runs.

Files are parsed and never imported, and this package imports nothing of ours but how findings are
written: a check needs no connector to run.
"""

import codecs
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from runtime._internal.findings import Finding, Rule, Severity

from .checks import findings
from .fixes import fixed
from .rules import RULES
from .source import UNREADABLE, Sources, python_files
from .suppressions import applied
from .triples import Triple, triples

__all__ = ["CONTRACTS", "RULES", "Finding", "Rule", "Severity", "check_paths", "fix_paths"]

CONTRACTS = (1, 2)
"""Versions of the contract."""

_OWN = "CC9"  # rules about the check itself, which no version of the contract has


def check_paths(paths: Iterable[Path], *, strict: bool = False, contract: int = 1) -> list[Finding]:
    """
    Check the connectors in *paths*: files, or folders with all `.py` files below them.

    Args:
        paths: Files and folders. One that does not exist, cannot be read or is no Python is a finding (CC900).
        strict: Count warnings as errors.
        contract: Version of the contract. What the template of the first one does is an error in the second.

    Returns:
        What is wrong, by file and line.
    """
    return _checked(Sources(), paths, strict=strict, contract=contract)


def fix_paths(paths: Iterable[Path]) -> list[Path]:
    """Rewrite the connectors in *paths* towards the second version of the contract; returns the changed files."""
    paths = list(paths)
    sources, changed = Sources(), []
    by_path: dict[str, list[Finding]] = {}
    for one in _checked(sources, paths, strict=False, contract=2):
        by_path.setdefault(one.path, []).append(one)
    wanted = {path.resolve() for path in python_files(paths)}
    for name, found in by_path.items():
        path = Path(name)
        if path.resolve() in wanted and all(one.rule != "CC900" for one in found):
            module = sources.read(path)
            if (text := fixed(sources, module, found)) != module.text:
                mark = codecs.BOM_UTF8 if path.read_bytes().startswith(codecs.BOM_UTF8) else b""
                path.write_bytes(mark + text.encode())
                changed.append(path)
    return changed


def _checked(sources: Sources, paths: Iterable[Path], *, strict: bool, contract: int) -> list[Finding]:
    found: set[Finding] = set()
    modules = {}
    for path in python_files(paths):
        try:
            module = sources.read(path)
        except UNREADABLE as error:
            found.add(_unreadable(path, error))
        else:
            modules[module.path] = module
    checked: list[Triple] = []
    for module in list(modules.values()):
        try:
            for triple in triples(sources, module):
                if any(triple.first.node is other.first.node for other in checked):
                    continue
                checked.append(triple)
                found |= set(findings(sources, triple))
        except RecursionError as error:  # an expression of a thousand terms
            found.add(_unreadable(module.path, error))
    # Suppressions are read in each file that has a finding, helpers of connectors included.
    touched = modules | {Path(one.path): sources.read(Path(one.path)) for one in found if one.rule != "CC900"}
    result = [one for one in found if one.rule == "CC900"]
    for path, module in touched.items():
        result += applied(module, sorted(one for one in found if one.path == str(path) and one.rule != "CC900"))
    return sorted(_raised(one) if strict or (contract > 1 and one.rule < _OWN) else one for one in result)


def _raised(finding: Finding) -> Finding:
    return replace(finding, severity=Severity.ERROR) if finding.severity is Severity.WARNING else finding


def _unreadable(path: Path, error: Exception) -> Finding:
    line = getattr(error, "lineno", None) or 1
    reason = getattr(error, "msg", None) or getattr(error, "strerror", None) or "not valid UTF-8"
    if isinstance(error, RecursionError | MemoryError):
        reason = "nested too deeply"
    return Finding(str(path), line, 1, "CC900", f"cannot be read: {reason}", RULES["CC900"].severity, line)
