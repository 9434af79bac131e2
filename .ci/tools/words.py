"""
Count texts that use words of the "we do not say" list in CONTRIBUTING.md.

    python3 .ci/tools/words.py                # the shares, per folder and in all
    python3 .ci/tools/words.py --show         # each text that uses one, with its place
    python3 .ci/tools/words.py --tree DIR     # another checkout
    python3 .ci/tools/words.py --most 3       # exit with 1 when more than 3 % of all texts use one

A text is a docstring, a comment (consecutive lines are one), the text of an error or a log line, or the description of
a setting, in Python files of this project and of its tests. `WORDS` are the words that count, with their inflections:
those of the list without "refused", "place", "config" and "spec", which have other meanings too ("connection refused"),
and "try" and "tries" only after an article, a number or a similar word. A word between backquotes or double quotes is a
name or a quotation, not prose, and does not count.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("middleware", "runtime", "benchmarks", "examples", "tests", ".ci")
WORDS = (
    r"tells?|told|telling",
    r"hears?|heard|hearing",
    r"stands?|stood|standing",
    r"holds?|held|holding",
    r"whoever|whomever",
    r"nobody",
    r"beside",
    r"cuts?|cutting",
    r"turns?|turned|turning",
    r"leaves?|leaving",
    r"(?:gives?|gave|given|giving)\s+(?:\w+\s+)?(?:away|back)",
    r"miss|misses|missed",
    r"foreign",
    r"answers?|answered|answering",
    r"(?:an?|the|one|two|three|each|every|no|any|another|other|first|second|last|next|late|of|per|further|such)\s+tr(?:y|ies)",
    r"total\s+tries",
    r"(?:comes?|came|coming)\s+back",
)
PATTERN = re.compile(r"(?<![\w.-])(?:" + "|".join(WORDS) + r")(?![\w-])", re.IGNORECASE)
CODE = re.compile(r"`[^`]*`|\"[^\"\n]*\"")
SAYING = {"doc", "help", "description"}  # keywords whose value is prose


class Text(NamedTuple):
    """One text: where it begins, of what kind it is, and what it says."""

    path: str
    line: int
    kind: str
    content: str

    @property
    def words(self) -> list[str]:
        """What it says that we do not say."""
        return [found.lower() for found in PATTERN.findall(CODE.sub(" ", self.content))]


def comments(path: str, source: str) -> Iterator[Text]:
    """Comments, those on consecutive lines joined; directives for tools are no prose."""
    block: list[str] = []
    begin = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        said = re.sub(r"^#\s*(noqa|type:|ruff:|mypy:|pragma:)[^#-]*-?", "", token.string).strip("# ")
        own_line = token.line.lstrip().startswith("#")
        if block and not (own_line and token.start[0] == last + 1):
            yield Text(path, begin, "comment", " ".join(block))
            block = []
        if said:
            begin = begin if block else token.start[0]
            block.append(said)
            last = token.start[0]
    if block:
        yield Text(path, begin, "comment", " ".join(block))


def constant(node: ast.expr) -> str:
    """Text of a string or of the fixed parts of an f-string; empty for anything else."""
    parts = [
        child.value for child in ast.walk(node) if isinstance(child, ast.Constant) and isinstance(child.value, str)
    ]
    return " ".join(parts)


def strings(path: str, tree: ast.AST) -> Iterator[Text]:
    """Docstrings, attribute docstrings, texts of errors and log lines, descriptions of settings and arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield Text(path, node.lineno, "docstring", node.value.value)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            said = " ".join(filter(None, map(constant, node.exc.args)))
            if said:
                yield Text(path, node.lineno, "error", said)
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if name in {"debug", "info", "warning", "error", "exception", "critical", "log", "warn"}:
                said = " ".join(filter(None, map(constant, node.args)))
                if said:
                    yield Text(path, node.lineno, "log", said)
            for keyword in node.keywords:
                if keyword.arg in SAYING and (said := constant(keyword.value)):
                    yield Text(path, node.lineno, "description", said)


def texts(root: Path) -> Iterator[Text]:
    """Every text of the checkout at *root*."""
    for folder in FOLDERS:
        for file in sorted((root / folder).rglob("*.py")):
            path, source = file.relative_to(root).as_posix(), file.read_text("utf-8")
            if file.name != "words.py":
                yield from comments(path, source)
                yield from strings(path, ast.parse(source))


def main() -> int:
    """Count, and print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout to read")
    parser.add_argument("--show", action="store_true", help="print each text that uses such a word")
    parser.add_argument("--most", type=float, help="largest share in percent")
    arguments = parser.parse_args()
    all_texts, using, words = Counter[str](), Counter[str](), Counter[str]()
    for text in texts(arguments.tree):
        groups = (text.path.split("/")[0], text.kind, "all")
        all_texts.update(groups)
        if found := text.words:
            using.update(groups)
            words.update(found)
            if arguments.show:
                said = " ".join(text.content.split())[:160]
                print(f"{text.path}:{text.line}: {text.kind}: {', '.join(found)}: {said}")
    for group, total in all_texts.items():
        print(f"{group:<12} {using[group]:>5} of {total:>5}  {100 * using[group] / total:5.1f} %")
    print("most used:", ", ".join(f"{word} {count}" for word, count in words.most_common(12)))
    share = 100 * using["all"] / max(1, all_texts["all"])
    return int(arguments.most is not None and share > arguments.most)


if __name__ == "__main__":
    sys.exit(main())
