"""Findings of a check, and their text, JSON, SARIF 2.1.0 and annotations of GitHub Actions."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["FORMATS", "Finding", "Rule", "Severity", "Tool", "explanation", "shown_path"]

_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


class Severity(StrEnum):
    """How much a finding matters: an error fails the check, a warning with `--strict`, a note never."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One rule.

    Attributes:
        id: Stable id.
        name: Short name.
        severity: Of most findings; a finding may have a lower one.
        source: Where the rule comes from.
        why: What goes wrong without it.
        remedy: What to do instead.
    """

    id: str
    name: str
    severity: Severity
    source: str
    why: str
    remedy: str


@dataclass(frozen=True, order=True, slots=True)
class Finding:
    """
    One place where a rule is broken.

    Attributes:
        path: The file; or what else has the value, such as a variable, where *line* is 0.
        line: From 1; 0 where the place has no lines.
        column: From 1; 0 where it is not known.
        rule: Id of the rule.
        message: What is wrong there.
        severity: Of this finding.
        last_line: Last line of what it is about.
        meant: The known name that an unknown one most likely meant; empty where there is none.
    """

    path: str
    line: int
    column: int
    rule: str
    message: str
    severity: Severity
    last_line: int = 0
    meant: str = ""


class Tool(NamedTuple):
    """
    A check.

    Attributes:
        name: As in SARIF.
        version: Its version.
        rules: Its rules by their ids.
    """

    name: str
    version: str
    rules: Mapping[str, Rule]


def _text(findings: Sequence[Finding], tool: Tool) -> str:
    lines = []
    for one in findings:
        mark = "" if one.severity is Severity.ERROR else f"[{one.severity}] "
        lines.append(f"{_place(one)}: {one.rule} {mark}{_said(one, tool)}")
    counts = Counter(one.severity for one in findings)
    parts = [f"{counts[kind]} {kind}{'s' if counts[kind] > 1 else ''}" for kind in Severity if counts[kind]]
    return "\n".join([*lines, f"Found {', '.join(parts)}." if parts else "All checks passed."]) + "\n"


def _json(findings: Sequence[Finding], tool: Tool) -> str:
    return json.dumps([_record(one, tool.rules[one.rule]) for one in findings], indent=2) + "\n"


def _record(one: Finding, rule: Rule) -> dict[str, Any]:
    place = {"filename": shown_path(one.path), "location": {"row": one.line, "column": one.column or 1}}
    return {
        **(place if one.line else {"filename": None, "location": None}),
        "source": _place(one),
        "code": one.rule,
        "name": rule.name,
        "severity": one.severity.value,
        "message": one.message,
        "reason": rule.why,
        "remedy": rule.remedy,
        "did_you_mean": one.meant or None,
    }


def _github(findings: Sequence[Finding], tool: Tool) -> str:
    kinds = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
    lines = []
    for one in findings:
        rule = tool.rules[one.rule]
        title, file = _escaped(f"{one.rule} {rule.name}"), _escaped(shown_path(one.path))
        place = f",file={file},line={one.line},col={one.column or 1}" if one.line else ""
        text = _said(one, tool) if one.line else f"{one.path}: {_said(one, tool)}"
        lines.append(f"::{kinds[one.severity]} title={title}{place}::{_escaped(text, data=True)}\n")
    return "".join(lines)


def _escaped(text: str, *, data: bool = False) -> str:
    """Escape as GitHub's workflow commands do: data, and in addition the separators of properties."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text if data else text.replace(":", "%3A").replace(",", "%2C")


def _sarif(findings: Sequence[Finding], tool: Tool) -> str:
    used = sorted({one.rule for one in findings})
    driver = {
        "name": tool.name,
        "version": tool.version,
        "rules": [_sarif_rule(tool.rules[name]) for name in used],
    }
    results = [
        {
            "ruleId": one.rule,
            "ruleIndex": used.index(one.rule),
            "level": one.severity.value,
            "message": {"text": _said(one, tool)},
            "locations": [_sarif_location(one)],
        }
        for one in findings
    ]
    run = {"tool": {"driver": driver}, "columnKind": "utf16CodeUnits", "results": results}
    return json.dumps({"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _sarif_location(one: Finding) -> dict[str, Any]:
    if not one.line:
        return {"logicalLocations": [{"fullyQualifiedName": one.path}]}
    region = {"startLine": one.line, "startColumn": one.column or 1}
    return {"physicalLocation": {"artifactLocation": {"uri": _uri(one.path)}, "region": region}}


def _sarif_rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.source},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": rule.severity.value},
    }


def _said(one: Finding, tool: Tool) -> str:
    """What is wrong, and what to do instead."""
    return f"{one.message}{'' if one.message.endswith('?') else '.'} {tool.rules[one.rule].remedy}"


def _place(one: Finding) -> str:
    """File, line and column; or the name of what has no lines."""
    return (
        ":".join([shown_path(one.path), *(str(number) for number in (one.line, one.column) if number)])
        if one.line
        else one.path
    )


def shown_path(path: str) -> str:
    """Return a path relative to the working directory, where it is below it."""
    try:
        return Path(path).resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return Path(path).as_posix()


def _uri(path: str) -> str:
    shown = shown_path(path)
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


FORMATS: Mapping[str, Callable[[Sequence[Finding], Tool], str]] = {
    "text": _text,
    "json": _json,
    "sarif": _sarif,
    "github": _github,
}
"""Each output format: the findings of a tool, to text."""
