"""What the site and its generated pages are made of: complete, current, and public alone."""

import json
import re
from pathlib import Path

import diagrams
import public_names
import pytest
import reference_pages
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
NAMES = json.loads((ROOT / "tests" / "public_names.json").read_text())


@pytest.fixture(scope="module")
def made():
    """The text of each generated file, as the code is now."""
    return {path.relative_to(DOCS).as_posix(): text for path, text in reference_pages.pages().items()}


PAGES = ("commands", "errors", "headers", "settings")


@pytest.mark.torture
@pytest.mark.parametrize("name", [*(f"reference/{page}.md" for page in PAGES), "llms.txt"])
def test_a_generated_page_is_current(made, name):
    """After a change of a setting, an error, a header, a command or a page: `.ci/tools/reference_pages.py --write`."""
    assert (DOCS / name).read_text() == made[name]


def test_every_setting_has_an_entry():
    """With its variable; the anchors of other pages lead to them."""
    text = (DOCS / "reference/settings.md").read_text()
    headings = re.findall(r"^### (\S+)$", text, re.MULTILINE)
    assert sorted(headings) == NAMES["settings"]["keys"]
    assert [name for name in NAMES["settings"]["variables"] if name not in text] == []


def test_every_code_of_an_error_is_listed():
    """Class and code, with what to do."""
    text = (DOCS / "reference/errors.md").read_text()
    for name, code in NAMES["error codes"].items():
        assert f"| `{name}` | `{code}` |" in text
        assert f"| `{code}` | `{name}` |" in text


def test_llms_txt_lists_the_public_names_of_its_modules():
    """A tool that reads it imports nothing else."""
    text = (DOCS / "llms.txt").read_text()
    for module, names in NAMES["exports"].items():
        if public_names.TOOLS.match(module):
            assert f"`{module}`" in text
        else:
            section = text.partition(f"### {module}\n")[2].partition("\n### ")[0]
            assert re.findall(r"^- `(\w+)`", section, re.MULTILINE) == names


def test_every_page_is_in_the_navigation():
    """And each place in it exists, or is made by the site's build."""
    text = (ROOT / "mkdocs.yml").read_text()
    places = set(re.findall(r"[\w/-]+\.md", text.partition("\nnav:")[2]))
    assert {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} <= places
    built = {"contributing.md", "changelog.md", "security.md", "reference/api/index.md"}
    assert {place for place in places if not (DOCS / place).exists()} <= built


def test_each_page_describes_itself():
    """Its first sentence is its description, in llms.txt too: no two have the same."""
    found = [reference_pages.about(place) for _, _, place in reference_pages.navigation()]
    assert [one for one in found if found.count(one) > 1] == []


def test_the_site_loads_nothing_from_elsewhere():
    """No fonts, no analytics, no address of its own."""
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert config["theme"]["font"] is False
    assert "offline" in config["plugins"]
    assert not {"site_url", "repo_url"} & config.keys()
    (shim,) = config["extra"]["polyfills"]  # without it the plugin `offline` names one of another server
    assert (DOCS / shim).is_file()


def test_every_diagram_is_drawn():
    """After a change of one: `.ci/tools/diagrams.py`, which says what it needs."""
    wanted = {diagrams.name_of(text, theme) for text in diagrams.diagrams() for theme in diagrams.THEMES}
    assert {path.name for path in diagrams.FOLDER.iterdir()} == wanted


def test_ten_tasks_for_coding_tools():
    """Each has code, which tests/test_examples.py runs."""
    text = (DOCS / "coding-tools.md").read_text()
    tasks = re.split(r"^### \d+\. ", text.partition("## Ten tasks")[2], flags=re.MULTILINE)[1:]
    assert len(tasks) == 10
    assert all("```python\n" in task for task in tasks)
