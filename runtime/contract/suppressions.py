"""Suppression comments: `# contract: ignore[CC203] the reason`, on a line of the finding or alone on the line above."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from runtime._internal.findings import Finding

from .rules import RULES
from .source import Module

__all__ = ["applied"]

_COMMENT = re.compile(r"#\s*contract:\s*(?P<rest>ignore.*)")
_IGNORE = re.compile(r"ignore\s*\[(?P<ids>[^\]]*)\]\s*[-:]*\s*(?P<reason>.*)")
_LEAST_WORDS = 2  # one word is no reason


def applied(module: Module, findings: Iterable[Finding]) -> Iterator[Finding]:
    """
    Return those of *findings*, all of *module*, that no comment there suppresses.

    Errors in these comments (CC901) and comments that suppress nothing (CC902) are returned in addition.
    """
    comments = list(_comments(module))
    used = set()
    for finding in findings:
        lines = range(finding.line, max(finding.last_line, finding.line) + 1)
        matching = [
            index
            for index, (line, _, ids, _, alone) in enumerate(comments)
            if finding.rule in ids and (line in lines or (alone and line == finding.line - 1))
        ]
        used |= set(matching)
        if not matching:
            yield finding
    blank = Finding(str(module.path), 1, 1, "CC901", "", RULES["CC901"].severity)
    for index, (line, column, ids, problem, _) in enumerate(comments):
        place = replace(blank, line=line, column=column, last_line=line)
        if problem:
            yield replace(place, message=problem)
        elif index not in used:
            severity = RULES["CC902"].severity
            yield replace(place, rule="CC902", message=f"nothing to suppress: {', '.join(ids)}", severity=severity)


def _comments(module: Module) -> Iterator[tuple[int, int, tuple[str, ...], str, bool]]:
    """Line, column, suppressed ids, error in the comment, and whether it is alone on its line, for each comment."""
    for row, line in enumerate(module.lines, 1):
        found = _COMMENT.search(line) if "contract:" in line else None
        if found is None or _is_in_text(module, row, len(line[: found.start()].encode())):
            continue
        match = _IGNORE.match(found["rest"])
        ids = tuple(one.strip() for one in match["ids"].split(",") if one.strip()) if match else ()
        unknown = [one for one in ids if one not in RULES]
        problem = ""
        if not ids:
            problem = "names no rule"
        elif unknown:
            problem = f"unknown rule {', '.join(unknown)}"
        elif match and len(re.findall(r"\w+", match["reason"])) < _LEAST_WORDS:
            problem = "has no reason"
        if problem:
            ids = ()
        is_alone = not line[: found.start()].strip()
        yield row, found.start() + 1, ids, f"suppression {problem}" if problem else "", is_alone


def _is_in_text(module: Module, row: int, column: int) -> bool:
    """Whether a position, its column in bytes as the syntax tree counts, is inside of a string."""
    return any(
        (one.lineno, one.col_offset) <= (row, column) < (one.end_lineno or 0, one.end_col_offset or 0)
        for one in (*module.all(ast.Constant), *module.all(ast.JoinedStr))
    )
