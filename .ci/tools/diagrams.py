"""
Draws the Mermaid diagrams of docs/ for the site, which loads no program to do so in the reader's browser.

    npm pack mermaid@11 && tar xzf mermaid-11*.tgz
    python3 .ci/tools/diagrams.py package/dist/mermaid.min.js    # writes docs/diagrams; needs Chromium

After a change of a diagram. Its drawings are named by its text, so that a test finds those that are not current.
"""

import hashlib
import html
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FOLDER = DOCS / "diagrams"
FENCE = re.compile(r"^```mermaid\n(.*?)^```", re.DOTALL | re.MULTILINE)
THEMES = {"light": "neutral", "dark": "dark"}
_PAGE = """<script src="{program}"></script><pre></pre><script>
mermaid.initialize({{startOnLoad: false, theme: "{theme}", htmlLabels: false, flowchart: {{htmlLabels: false}},
  deterministicIds: true, fontFamily: "system-ui, sans-serif"}});
mermaid.render("diagram", {text}).then(drawn => {{ document.querySelector("pre").textContent = drawn.svg; }});
</script>"""


def name_of(text: str, theme: str) -> str:
    """File of the drawing of a diagram."""
    return f"{hashlib.sha256(text.encode()).hexdigest()[:12]}-{theme}.svg"


def diagrams() -> list[str]:
    """The text of each diagram of docs/."""
    return [text for path in sorted(DOCS.rglob("*.md")) for text in FENCE.findall(path.read_text("utf-8"))]


def drawn(program: Path, text: str, theme: str) -> str:
    """The drawing as SVG."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(_PAGE.format(program=program.resolve().as_uri(), theme=THEMES[theme], text=json.dumps(text)))
        command = [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=10000",
            "--dump-dom",
        ]
        document = subprocess.run([*command, page.as_uri()], check=True, capture_output=True, text=True).stdout
    found = re.search(r"<pre>(.*?)</pre>", document, re.DOTALL)
    if not found or "<svg" not in (svg := html.unescape(found[1])):
        raise SystemExit(f"no drawing of:\n{text}")
    return svg + "\n"


def main() -> None:
    """Draw what has no drawing, and remove the drawings of what is gone."""
    FOLDER.mkdir(exist_ok=True)
    wanted = {name_of(text, theme): (text, theme) for text in diagrams() for theme in THEMES}
    for path in FOLDER.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, (text, theme) in wanted.items():
        if not (FOLDER / name).exists():
            (FOLDER / name).write_text(drawn(Path(sys.argv[1]), text, theme))


if __name__ == "__main__":
    main()
