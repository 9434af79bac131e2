"""
The parts of docs/reference that are made from the code, and docs/llms.txt: prints them, or writes the files.

    python3 .ci/tools/reference_pages.py            # print
    python3 .ci/tools/reference_pages.py --write    # put them between their markers; after a change of a setting, ...

Needs the test extra. Pages of connectors are made by connector_pages.py, those of the Python API by the site's build.
"""

import importlib
import inspect
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
LLMS = DOCS / "llms.txt"
sys.path[:0] = [str(ROOT), str(ROOT / ".ci" / "tools")]

import connector_pages
import public_names

from middleware import errors
from runtime.cli.main import COMMANDS
from runtime.settings import PREFIX, Row, settings, settings_table

SECTIONS = {
    "deadline": "Time for a whole call (R40).",
    "calls": "Calls of a service in flight (R3).",
    "idempotency": "Whether a service honours Idempotency-Key (R11).",
    "retry": "Which failures are repeated, and when (R10 to R17, R20, R21).",
    "hedging": "Attempts in parallel with a slow one (R19).",
    "budget": "What all retries of a service share (R18).",
    "bulkhead": "Attempts on the wire and their queue (R41, R46).",
    "rate_limit": "Attempts per second (R41).",
    "quota": "Attempts per second of all processes with one application key (R70 to R75).",
    "circuit_breaker": "When a failing service gets no more attempts (R31 to R39).",
    "attempt": "Time for one attempt (R40, R50).",
    "correlation": "Whether a response belongs to its request (R53).",
    "path": "Which values a path may contain (R54).",
    "transport": "Connections, TLS, names and limits (R2 to R7); a change needs a restart.",
}
IMPORT_THESE = (
    "Import nothing else: other names may change in any release. The models of a connector are in its own module."
)
WORDS = {bool: ("Switch on when", "Switch off when"), str: ("Set it when", "")}


def variable_of(row: Row) -> str:
    """Its environment variable."""
    return f"{PREFIX}{row.name}"


def bounds(row: Row) -> str:
    """The values that a setting accepts."""
    spec = row.setting.spec
    if spec.choices:
        return ", ".join(f"`{one}`" for one in spec.choices)
    if row.setting.type is bool:
        return "`true`, `false`"
    if spec.ge is None or spec.le is None:
        return "a text"
    return f"{spec.ge:.10g} to {spec.le:.10g}" + (f" {spec.unit}" if spec.unit else "")


def default(row: Row) -> str:
    """Its default with its unit."""
    value = row.setting.default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    text = f"{value:.10g}" if row.setting.type in {int, float} else f"`{value}`" if value else "empty"
    return text + (f" {row.setting.spec.unit}" if row.setting.spec.unit else "")


def setting_entry(row: Row) -> str:
    """One setting as a section."""
    spec = row.setting.spec
    up, down = WORDS.get(row.setting.type, ("Raise when", "Lower when"))
    source = f" ({spec.source})" if spec.source else ""
    lines = [
        f"### {row.path}",
        "",
        spec.doc,
        "",
        f"- Default: {default(row)}{source}. Accepted: {bounds(row)}.",
        f"- For: all services, one service{'' if spec.shared else ', one operation'}.",
        f"- **{up}**: {spec.raise_when}",
        *([f"- **{down}**: {spec.lower_when}"] if spec.lower_when else []),
        f"- Variable: `{variable_of(row)}`",
    ]
    return "\n".join(lines)


def settings_entries() -> str:
    """Every setting, by section."""
    found: list[str] = []
    for section, about in SECTIONS.items():
        found.append(f"## {section}\n\n{about}")
        found += [setting_entry(row) for row in settings() if row.section == section]
    return "\n\n".join(found)


def commands_table() -> str:
    """Every command, and the extras that it needs."""
    rows = [
        (f"`{name}`", one.help, ", ".join(f"`{extra}`" for extra in one.extras or ()) or "none")
        for name, one in sorted(COMMANDS.items())
    ]
    return connector_pages.table(("command", "what it does", "extras"), rows)


def error_tree() -> str:
    """The tree in the docstring of middleware.errors."""
    lines = inspect.cleandoc(errors.__doc__ or "").splitlines()
    first = next(number for number, line in enumerate(lines) if line.strip().startswith("PlatformError"))
    length = lines[first:].index("")
    return "```text\n" + "\n".join(line.removeprefix("    ") for line in lines[first : first + length]) + "\n```"


def navigation() -> Iterator[tuple[str, str, str]]:
    """Section, title and place of each page that is a file of docs/."""
    for section in yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]:
        for name, entries in section.items():
            yield from ((name, title, place) for title, place in _pages(entries) if (DOCS / place).is_file())


def _pages(entries: Any) -> Iterator[tuple[str, str]]:
    for entry in entries:
        if isinstance(entry, str):
            yield title_of(entry), entry
        else:
            for title, inner in entry.items():
                yield from [(title, inner)] if isinstance(inner, str) else _pages(inner)


def title_of(place: str) -> str:
    """Heading of a page of docs/."""
    path = DOCS / place
    return path.read_text().partition("\n")[0].removeprefix("# ") if path.is_file() else place


def about(place: str) -> str:
    """First sentence of a page of docs/, as plain text."""
    paragraphs = re.split(r"\n\s*\n", (DOCS / place).read_text())
    prose = next(one for one in paragraphs if re.match(r"[A-Z`*\[]", one))
    plain = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", " ".join(prose.split())).replace("**", "")
    return re.split(r"(?<=[a-z`)])\.(?: |$)", plain)[0].rstrip(":.") + "."


def described(module: str, name: str) -> str:
    """First paragraph of the docstring of *name*, in one line."""
    value = getattr(importlib.import_module(module), name)
    documented = (inspect.getdoc(value) or "") if callable(value) else ""
    paragraph = " ".join(documented.partition("\n\n")[0].split())
    return f": {paragraph}" if paragraph else ""


def llms() -> str:
    """What coding tools read first: what this is, which page says what, and the names that may be imported."""
    exports = public_names.exports()
    introduction = (DOCS / "index.md").read_text().split("\n\n")[1]
    found = [
        "# Connector runtime",
        "> " + " ".join(introduction.split()),
        "Begin with [For coding tools](coding-tools.md): the rules, and ten tasks with code that runs in CI.",
    ]
    section = ""
    lines: list[str] = []
    for name, title, place in navigation():
        if name != section:
            section = name
            lines.append(f"\n## {name}\n")
        lines.append(f"- [{title}]({place}): {about(place)}")
    found.append("\n".join(lines).strip())
    tools = ", ".join(f"`{module}`" for module in exports if public_names.TOOLS.match(module))
    found.append(f"## Public names\n\n{IMPORT_THESE}\n\nFor tools there are in addition {tools}.")
    found += [
        "\n".join([f"### {module}\n", *(f"- `{name}`{described(module, name)}" for name in exports[module])])
        for module in exports
        if not public_names.TOOLS.match(module)
    ]
    return "\n\n".join(found) + "\n"


# Page and marker -> what is between `<!-- marker -->` and `<!-- /marker -->`.
PARTS = {
    ("settings", "table"): settings_table,
    ("settings", "entries"): settings_entries,
    ("errors", "tree"): error_tree,
    ("errors", "codes"): errors.codes_table,
    ("errors", "advice"): errors.advice_table,
    ("headers", "sent"): connector_pages.headers_sent,
    ("commands", "commands"): commands_table,
}


def pages() -> dict[Path, str]:
    """Each file as it has to be."""
    found = {REFERENCE / f"{page}.md": (REFERENCE / f"{page}.md").read_text() for page, _ in PARTS}
    for (page, marker), make in PARTS.items():
        path = REFERENCE / f"{page}.md"
        before, begin, rest = found[path].partition(f"<!-- {marker} -->\n")
        _, end, after = rest.partition(f"\n<!-- /{marker} -->")
        if not (begin and end):
            raise SystemExit(f"{path}: no markers {marker}")
        found[path] = f"{before}{begin}\n{make()}\n{end}{after}"
    found[LLMS] = llms()
    return found


if __name__ == "__main__":
    for path, text in pages().items():
        if "--write" in sys.argv:
            path.write_text(text)
        else:
            sys.stdout.write(f"{posixpath.relpath(path, ROOT)}\n\n{text}\n")
