"""
Read docs/runbook.md: as the page that Prometheus serves, where the links of alerts and panels lead by default.

    python .ci/tools/runbook.py           # prints it
    python .ci/tools/runbook.py --write   # dashboards/consoles/runbook.html

Links to other documents are text on the page, with the name of the file: Prometheus serves this one alone.
"""

import itertools
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from runtime._internal.page_style import PAGE_STYLE

SOURCE = ROOT / "docs" / "runbook.md"
PAGE = ROOT / "dashboards" / "consoles" / "runbook.html"
STYLE = """
main { max-width: 50rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; padding-top: .5rem; border-top: 1px solid var(--line); }
ul { padding-left: 1.25rem; } li { margin: .35rem 0; } a { color: var(--wait); }
pre { background: var(--card); border: 1px solid var(--line); padding: .6rem; overflow-x: auto; }
h2:target { color: var(--wait); }
"""


def slug(heading: str) -> str:
    """Return the anchor of *heading*, as on the pages of code hosts."""
    return re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))


def with_anchors(tokens: list[Token]) -> None:
    """Give each heading its anchor, and make text of each link that leads to another document."""
    for token, following in itertools.pairwise(tokens):
        if token.type == "heading_open":
            token.attrSet("id", slug(following.content))
    for token in tokens:
        elsewhere = said = ""
        for child in token.children or ():
            if child.type == "link_open" and not str(child.attrGet("href")).startswith(("#", "https://")):
                elsewhere, said = str(child.attrGet("href")).partition("#")[0].rpartition("/")[2], ""
                child.type, child.content = "text", ""
            elif child.type == "link_close" and elsewhere:
                child.type, child.content = "text", "" if elsewhere in said else f", {elsewhere}"
                elsewhere = ""
            said += child.content


def page() -> str:
    """Return the page."""
    parser = MarkdownIt("commonmark")
    tokens = parser.parse(SOURCE.read_text("utf-8"))
    with_anchors(tokens)
    body = RendererHTML(parser).render(tokens, parser.options, {})
    if "{{" in body:
        raise ValueError("docs/runbook.md: `{{` begins a template on a page that Prometheus serves")
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">\n'
        f"<!-- made by .ci/tools/runbook.py -->\n<title>Runbook</title><style>{PAGE_STYLE}{STYLE}</style>\n"
        f"<main>\n{body}</main>\n</html>\n"
    )


def entries() -> dict[str, str]:
    """Return the text of each alert's entry, by the name of the alert."""
    found = re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", SOURCE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return dict(found)


def lines_to_change(entry: str) -> tuple[str, str]:
    """Return the language, and the text, of the lines that *entry* says to change."""
    ((language, lines),) = re.findall(r"\n  ```(\w+)\n(.*?)\n  ```\n", entry, re.DOTALL)
    return language, re.sub("^  ", "", lines, flags=re.MULTILINE)


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(), "utf-8")
    else:
        sys.stdout.write(page())
