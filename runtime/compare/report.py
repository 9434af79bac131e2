"""Writes what has changed: for people by method, as JSON, and as findings for SARIF and GitHub Actions."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from runtime._internal.findings import Finding, shown_path
from runtime.openapi import plain

from .operations import MethodChanges
from .rules import RULES, Change, Verdict, verdict_of

__all__ = ["Compared", "findings", "json_text", "text"]


class Compared(NamedTuple):
    """
    What was compared.

    Attributes:
        old: Where the old document comes from.
        new: Where the new one comes from.
        methods: Every method, also those without a change.
    """

    old: str
    new: str
    methods: Sequence[MethodChanges]

    @property
    def changed(self) -> list[MethodChanges]:
        """The methods with a change, breaking ones first."""
        order = list(Verdict)
        found = [one for one in self.methods if one.verdict]
        return sorted(found, key=lambda one: order.index(one.verdict or Verdict.NEW))

    def place(self, change: Change) -> str:
        """Document and place of a change."""
        return f"{self.old if change.in_old else self.new}{change.place}"


def text(found: Compared) -> str:
    """Return what has changed, for people; without a change one line. Methods with the same changes share them."""
    groups: dict[tuple[Change, ...], list[MethodChanges]] = {}
    for method in found.changed:
        groups.setdefault(method.changes, []).append(method)
    if not groups:
        return f"Nothing has changed on the wire: {len(found.methods)} methods.\n"
    lines = []
    for changes, methods in groups.items():
        for one in methods:
            where = f"{shown_path(one.file)}:{one.line}: " if one.file else ""
            lines.append(f"{where}{one.verdict}: {plain(one.name)} ({plain(one.operation)})")
        for change in changes:
            lines.append(f"  {change.rule} {plain(change.reason)}")
            lines += [f"    {shown_path(methods[0].file)}:{change.line}"] if change.line else []
            lines.append(f"    {plain(found.place(change))}")
    counts = Counter(one.verdict for one in found.methods)
    parts = [f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]]
    return "\n".join([*lines, f"Found {', '.join(parts)}; {counts[None]} unchanged."]) + "\n"


def json_text(found: Compared) -> str:
    """Return the same as JSON, for machines."""
    document = {
        "old": found.old,
        "new": found.new,
        "breaking": any(one.verdict is Verdict.BREAKING for one in found.methods),
        "methods": [_record(one, found) for one in found.methods],
    }
    return json.dumps(document, indent=2) + "\n"


def _record(method: MethodChanges, found: Compared) -> dict[str, Any]:
    changes = [
        {
            "code": one.rule,
            "name": RULES[one.rule].name,
            "verdict": verdict_of(one.rule).value,
            "message": one.reason,
            "place": found.place(one),
            "filename": shown_path(method.file) if method.file else None,
            "row": one.line or method.line or None,
        }
        for one in method.changes
    ]
    return {
        "method": method.name,
        "operation": method.operation,
        "filename": shown_path(method.file) if method.file else None,
        "row": method.line or None,
        "verdict": method.verdict.value if method.verdict else "unchanged",
        "changes": changes,
    }


def findings(found: Compared) -> list[Finding]:
    """Return the changes as findings; the place in a connector where there is one, else that in the document."""
    return [
        Finding(
            method.file or plain(found.place(change)),
            change.line or method.line,
            1 if method.line else 0,
            change.rule,
            plain(f"{method.name} ({method.operation}): {change.reason}"),
            RULES[change.rule].severity,
            change.line or method.line,
        )
        for method in found.changed
        for change in method.changes
    ]
