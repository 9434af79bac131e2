"""Suppression comments: `# contract: ignore[CC203] the reason`, on a line of the finding or alone on the line above."""

import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import replace

from .checks import Finding
from .rules import RULES
from .source import Module

__all__ = ["applied"]

_COMMENT = re.compile(r"#\s*contract:\s*(?P<rest>.*)")
_IGNORE = re.compile(r"ignore\s*\[(?P<ids>[^\]]*)\]\s*[-:]*\s*(?P<reason>.*)")


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
    if "contract:" not in module.text:
        return  # to read the tokens of a file takes longer than to check it
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        found = _COMMENT.match(token.string) if token.type == tokenize.COMMENT else None
        if found is None or not found["rest"].startswith("ignore"):
            continue
        match = _IGNORE.match(found["rest"])
        ids = tuple(one.strip() for one in match["ids"].split(",") if one.strip()) if match else ()
        unknown = [one for one in ids if one not in RULES]
        problem = ""
        if not ids:
            problem = "names no rule"
        elif unknown:
            problem = f"unknown rule {', '.join(unknown)}"
        elif match and len(re.findall(r"\w+", match["reason"])) < 2:  # noqa: PLR2004 - one word is no reason
            problem = "has no reason"
        if problem:
            ids = ()
        row, column = token.start
        yield row, column + 1, ids, f"suppression {problem}" if problem else "", not token.line[:column].strip()
