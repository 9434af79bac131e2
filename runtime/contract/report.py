"""Writes findings as text, JSON, SARIF 2.1.0 and annotations of GitHub Actions."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .checks import Finding
from .rules import RULES, Rule, Severity

__all__ = ["FORMATS", "explanation"]

_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def _text(findings: Sequence[Finding], version: str) -> str:
    del version
    lines = []
    for one in findings:
        mark = "" if one.severity is Severity.ERROR else f"[{one.severity}] "
        lines.append(
            f"{_shown(one.path)}:{one.line}:{one.column}: {one.rule} {mark}{one.message}. {RULES[one.rule].remedy}"
        )
    counts = Counter(one.severity for one in findings)
    parts = [f"{counts[kind]} {kind}{'s' if counts[kind] > 1 else ''}" for kind in Severity if counts[kind]]
    return "\n".join([*lines, f"Found {', '.join(parts)}." if parts else "All checks passed."]) + "\n"


def _json(findings: Sequence[Finding], version: str) -> str:
    del version
    return json.dumps([_record(one) for one in findings], indent=2) + "\n"


def _record(one: Finding) -> dict[str, Any]:
    rule = RULES[one.rule]
    return {
        "filename": _shown(one.path),
        "location": {"row": one.line, "column": one.column},
        "code": one.rule,
        "name": rule.name,
        "severity": one.severity.value,
        "message": one.message,
        "remedy": rule.remedy,
    }


def _github(findings: Sequence[Finding], version: str) -> str:
    del version
    kinds = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
    lines = []
    for one in findings:
        title, file = _escaped(f"{one.rule} {RULES[one.rule].name}"), _escaped(_shown(one.path))
        text = _escaped(f"{one.message}. {RULES[one.rule].remedy}", data=True)
        lines.append(f"::{kinds[one.severity]} title={title},file={file},line={one.line},col={one.column}::{text}\n")
    return "".join(lines)


def _escaped(text: str, *, data: bool = False) -> str:
    """Escape as GitHub's workflow commands do: data, and in addition the separators of properties."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text if data else text.replace(":", "%3A").replace(",", "%2C")


def _sarif(findings: Sequence[Finding], version: str) -> str:
    used = sorted({one.rule for one in findings})
    driver = {
        "name": "connector-contract-check",
        "version": version,
        "rules": [_sarif_rule(RULES[name]) for name in used],
    }
    results = [
        {
            "ruleId": one.rule,
            "ruleIndex": used.index(one.rule),
            "level": one.severity.value,
            "message": {"text": f"{one.message}. {RULES[one.rule].remedy}"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": _uri(one.path)},
                        "region": {"startLine": one.line, "startColumn": one.column},
                    }
                }
            ],
        }
        for one in findings
    ]
    run = {"tool": {"driver": driver}, "columnKind": "utf16CodeUnits", "results": results}
    return json.dumps({"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _sarif_rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.source},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": rule.severity.value},
    }


def _shown(path: str) -> str:
    """A path relative to the working directory, where it is below it."""
    try:
        return Path(path).resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return Path(path).as_posix()


def _uri(path: str) -> str:
    shown = _shown(path)
    return Path(shown).as_uri() if Path(shown).is_absolute() else Path("/", shown).as_uri().removeprefix("file:///")


def explanation(rule: Rule) -> str:
    """Return what people read about *rule*."""
    return "\n".join(
        [
            f"{rule.id} {rule.name} ({rule.severity})",
            "",
            rule.source,
            "",
            f"Why: {rule.why}",
            f"Instead: {rule.remedy}",
            "",
        ]
    )


FORMATS: Mapping[str, Callable[[Sequence[Finding], str], str]] = {
    "text": _text,
    "json": _json,
    "sarif": _sarif,
    "github": _github,
}
"""Each output format: findings and the version of the tool, to text."""
