"""
What MkDocs cannot do by itself for the site of docs/: hooks that mkdocs.yml names.

- A page of the Python API for each public module, from tests/public_names.json: public names alone, each on one page.
- CONTRIBUTING.md, CHANGELOG.md and SECURITY.md as pages.
- A page for each file of the repository that a page links to, so that the site needs no other address.
- The ids of rules as links to docs/resilience.md.
- Diagrams as pictures, as .ci/tools/diagrams.py has drawn them.
- Each page's first sentence as its description, which is what a search engine shows of it.
- Each page as Markdown too, next to its HTML, for llms.txt.
"""

import importlib
import json
import posixpath
import re
import shutil
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".ci" / "tools"))

import diagrams
import reference_pages
from public_names import TOOLS

DOCS = ROOT / "docs"
API = "reference/api"
PROJECT_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "security.md"}
# Where a name that several modules export is described: the module that users import it from comes first.
FIRST = ("middleware", "runtime.connectors.loader", "runtime.connectors.base", "runtime.testing", "runtime.openapi")
# What a page's search results are worth: a guide comes before a list of names, and source is not searched.
_API_HEAD = "---\nsearch: {boost: 0.5}\n---\n\n"
_SOURCE_HEAD = "---\nsearch: {exclude: true}\n---\n\n"
_ROW = re.compile(r"^\|.*$", re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")
RULES = "resilience.md"
_STATED = re.compile(r"^\*\*(R\d+)\*\*", re.MULTILINE)
# Blocks of code, headings, code and links come first, so that no id in them is taken.
_CITED = re.compile(r"^```.*?^```|^#.*?$|`[^`\n]*`|\[[^]]*\]\([^)]*\)|\b(?P<rule>R\d+)\b", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
_LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".yaml": "yaml", ".sh": "bash", ".json": "json"}
# Given as it is: its links to pages of another repository lead nowhere, and become text.
GIVEN = "connector-contract.md"


def exports() -> dict[str, list[str]]:
    """The public names of each module, in the order of the pages."""
    found = json.loads((ROOT / "tests" / "public_names.json").read_text())["exports"]
    return {module: found[module] for module in sorted(found, key=lambda one: (TOOLS.match(one) is not None, one))}


def homes() -> dict[tuple[str, str], str]:
    """Module and name -> the module on whose page the name is described: one, of those that export the same object."""
    listed = exports()
    described: dict[int, str] = {}
    found = {}
    for module in sorted(listed, key=lambda one: FIRST.index(one) if one in FIRST else len(FIRST)):
        for name in listed[module]:
            value = getattr(importlib.import_module(module), name)
            # Texts and numbers may be one object by chance.
            found[module, name] = described.setdefault(id(value), module) if callable(value) else module
    return found


def api_pages() -> Iterator[tuple[str, str]]:
    """Place and Markdown of each page of the Python API."""
    home = homes()
    rows = []
    for module, names in exports().items():
        own = [name for name in names if home[module, name] == module]
        elsewhere = [(name, home[module, name]) for name in names if home[module, name] != module]
        text = [f"# {module}", f"::: {module}\n    options: {{members: false, show_root_heading: false}}"]
        if elsewhere:
            links = ", ".join(f"[`{name}`]({place}.md#{place}.{name})" for name, place in elsewhere)
            text.append(f"Described on the page of another module: {links}.")
        text += [f"::: {module}.{name}" for name in own]
        rows.append(f"| [`{module}`]({module}.md) | {', '.join(f'`{name}`' for name in names)} |")
        yield f"{API}/{module}.md", _API_HEAD + "\n\n".join(text) + "\n"
    yield f"{API}/index.md", "\n".join([_API_INTRODUCTION, "| import from | names |", "| --- | --- |", *rows, ""])


_API_INTRODUCTION = """\
# Python API

Every name that hosts, plugins and connectors may use, made from the docstrings. What is not listed here may change in
any release. The methods of connectors, with their requests, models and errors, are on the
[pages of connectors](../connectors.md).
"""


def resolved(target: str, base: str) -> str | None:
    """Path in the repository that *target*, a link in a file of folder *base*, leads to; None for none."""
    path = posixpath.normpath(posixpath.join(base, target))
    return path if not path.startswith("..") and (ROOT / path).exists() else None


def site_place(path: str) -> str:
    """Place in the site of the file or folder *path* of the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return PROJECT_PAGES.get(path, f"source/{path}.md")


def rewritten(markdown: str, base: str, place: str) -> str:
    """*markdown* with its links to files of the repository led to their places in the site."""

    def one(match: re.Match[str]) -> str:
        path = resolved(match[2], base)
        if path is None or (path.startswith("docs/") and base.startswith("docs")):
            return match[0]
        to = posixpath.relpath(site_place(path), posixpath.dirname(place) or ".")
        return f"{match[1]}{to}{match[3]}"

    return _LINK.sub(one, markdown)


def linked_sources(markdown: str, base: str) -> Iterator[str]:
    """Files and folders outside of docs/ that *markdown* links to."""
    for match in _LINK.finditer(markdown):
        path = resolved(match[2], base)
        if path and not path.startswith("docs/") and path not in PROJECT_PAGES:
            yield path


def with_drawings(markdown: str, place: str) -> str:
    """*markdown* with each diagram as a picture, of which the theme shows one."""
    folder = posixpath.relpath("diagrams", posixpath.dirname(place) or ".")

    def one(match: re.Match[str]) -> str:
        return "\n".join(
            f"![Diagram]({folder}/{diagrams.name_of(match[1], theme)}#only-{theme})" for theme in diagrams.THEMES
        )

    return diagrams.FENCE.sub(one, markdown)


def with_plain_pipes(markdown: str) -> str:
    """*markdown* with `|` as it is in the code of tables, where GitHub wants a backslash and MkDocs would show it."""
    return _ROW.sub(lambda row: _CODE.sub(lambda code: code[0].replace("\\|", "|"), row[0]), markdown)


def with_linked_rules(markdown: str, place: str) -> str:
    """*markdown* with each id of a rule as a link to the rule; on the page of the rules, with a place to link to."""
    rules = (DOCS / RULES).read_text("utf-8")
    if place == RULES:
        return _STATED.sub(r'<a id="\1"></a>**\1**', markdown)
    known = set(_STATED.findall(rules))
    to = posixpath.relpath(RULES, posixpath.dirname(place) or ".")

    def one(match: re.Match[str]) -> str:
        rule = match["rule"]
        return f"[{rule}]({to}#{rule})" if rule in known else match[0]

    return _CITED.sub(one, markdown)


def source_page(path: str) -> str:
    """A file of the repository as a page, or the list of a folder's files."""
    place = ROOT / path
    if place.is_dir():
        links = "\n".join(
            f"- [{one.relative_to(place)}]({posixpath.basename(path)}/{one.relative_to(place)}.md)"
            for one in files_of(place)
        )
        return f"# {path}\n\n{links}\n"
    language = _LANGUAGES.get(place.suffix, "text")
    return f"# {path}\n\n````{language}\n{place.read_text('utf-8')}````\n"


def files_of(folder: Path) -> list[Path]:
    """Its files, in order."""
    return sorted(one for one in folder.rglob("*") if one.is_file() and "__pycache__" not in one.parts)


def on_config(config: Any) -> Any:
    """Put the pages of the Python API into the navigation."""
    modules = list(exports())
    pages = [{module: f"{API}/{module}.md"} for module in modules if not TOOLS.match(module)]
    tools = [{module: f"{API}/{module}.md"} for module in modules if TOOLS.match(module)]
    for section in config["nav"]:
        for entry in section.get("Reference", ()):
            if "Python API" in entry:
                entry["Python API"] = [f"{API}/index.md", *pages, {"Tools": tools}]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not files of docs/."""
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in DOCS.rglob("*.md")}
    texts |= {name: (ROOT / name).read_text("utf-8") for name in PROJECT_PAGES}
    for place, text in api_pages():
        files.append(File.generated(config, place, content=text))
    for name, place in PROJECT_PAGES.items():
        files.append(File.generated(config, place, content=rewritten(texts[name], "", place)))
    sources = {path for name, text in texts.items() for path in linked_sources(text, posixpath.dirname(name))}
    for folder in [path for path in sources if (ROOT / path).is_dir()]:
        sources |= {one.relative_to(ROOT).as_posix() for one in files_of(ROOT / folder)}
    for path in sorted(sources):
        page = File.generated(config, f"source/{path}.md", content=_SOURCE_HEAD + source_page(path))
        page.inclusion = page.inclusion.NOT_IN_NAV
        files.append(page)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links of docs/ to their places in the site, and show its diagrams."""
    if page.file.generated_by:
        return markdown
    page.meta.setdefault("description", escape(reference_pages.about(page.file.src_uri).replace("`", "")))
    markdown = with_drawings(markdown, page.file.src_uri)
    base = posixpath.dirname(f"docs/{page.file.src_uri}")
    if page.file.src_uri == GIVEN:
        markdown = re.sub(
            r"\[([^]]+)\]\((\.[^)]+)\)", lambda one: one[0] if resolved(one[2], base) else one[1], markdown
        )
    markdown = with_linked_rules(with_plain_pipes(markdown), page.file.src_uri)
    return rewritten(markdown, base, page.file.src_uri)


def on_post_build(config: Any) -> None:
    """Put each page's Markdown next to its HTML."""
    for path in DOCS.rglob("*.md"):
        to = Path(config["site_dir"]) / path.relative_to(DOCS)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)
