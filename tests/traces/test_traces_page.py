"""The page of traces in a real browser, used as people use it: filters, keys, screen readers, phones, printers."""

import json
import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from runtime.traces.model import traces_of
from runtime.traces.page import render_page
from runtime.traces.trace_file import Span, SpanReader

pytestmark = pytest.mark.sockets
STORIES = Path(__file__).parents[2] / "docs/traces/stories.jsonl"
START = 1_795_873_500_000_000_000  # 2026-11-28 13:45 UTC
MANY = 3000
SOME = 100


@pytest.fixture(scope="module")
def stories():
    return traces_of(SpanReader().read(STORIES.read_bytes().splitlines()))


@pytest.fixture(scope="module")
def pages(stories, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    (folder / "stories.html").write_text(render_page(stories, of=len(stories), source="stories.jsonl"), "utf-8")
    many = traces_of(a_call(number) for number in range(MANY))
    (folder / "many.html").write_text(render_page(many, of=MANY, source="many.jsonl"), "utf-8")
    (folder / "some.html").write_text(render_page(many[:SOME], of=MANY, source="some.jsonl"), "utf-8")
    return folder


def a_call(number, name="identity.get_user", **attributes):
    service, _, operation = name.partition(".")
    return Span(
        trace_id=f"{number:032x}",
        span_id=f"{number:016x}",
        parent_id="",
        name=name,
        kind="INTERNAL",
        start_ns=START + number * 1_000_000_000,
        end_ns=START + number * 1_000_000_000 + (number + 1) * 1_000_000,
        status="UNSET",
        message="",
        attributes={"mozaiks.connector.name": service, "mozaiks.connector.operation": operation, **attributes},
        events=(),
        service="core",
    )


def count(page):
    return int(re.match(r"(\d+) of", page.text_content("#count"))[1])


def test_filters_show_what_they_say(browser, pages, stories):
    """Each of them, and the button of an operation, against the traces themselves; all are removed at once."""
    wanted = {
        "#failed": sum(one.failed for one in stories),
        "#retried": sum(one.retries > 0 for one in stories),
        "#slow": sum(one.duration_s > 1 for one in stories),
    }

    def look(page):
        found = {}
        for name in wanted:
            page.check(name)
            found[name] = count(page)
            page.uncheck(name)
        page.select_option("#service", label="billing")
        service = count(page)
        page.click("#all")
        page.click("button[data-operation] >> text=list_items")
        operation = count(page), page.get_attribute("button[data-operation] >> xpath=..", "aria-pressed")
        page.click("#all")
        page.fill("#search", "RECOVERED")
        searched = page.text_content("#list .name"), count(page)
        page.fill("#search", "no such text")
        return found, service, operation[0], searched, count(page), page.locator("#list > li").count()

    services = [{span.attributes.get("mozaiks.connector.name") for span in one.spans} for one in stories]
    names = [one.name for one in stories]
    assert browser.visit(pages / "stories.html", look) == (
        wanted,
        sum("billing" in one for one in services),
        names.count("service.list_items"),
        ("identity.get_user", 1),
        0,
        0,
    )


def test_times_are_the_readers_and_can_be_searched(browser, pages):
    """13:45 UTC is 08:45 in New York, in lines, sentences and pictures; fields and strip choose a time there."""

    def look(page):
        page.select_option("#sort", "start")
        first, zone = page.text_content("#list .started"), page.text_content("#zone")
        page.fill("#from", "08:50:00")
        page.fill("#until", "08:51:00")
        minute = count(page), page.text_content("#list .started")
        page.click("#all")
        box = page.locator(".strip svg").bounding_box()
        page.mouse.move(box["x"] + 1, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2 - 1, box["y"] + 20)
        page.mouse.up()
        return first, zone, minute, page.input_value("#from"), count(page)

    first, zone, minute, since, half = browser.visit(pages / "many.html", look, timezone_id="America/New_York")
    assert first == "08:45:00.000"
    assert zone == "America/New_York"
    assert minute == (60, "08:50:00.000")
    assert since == "08:45:00"
    assert MANY * 0.45 < half < MANY * 0.55


def test_the_strip_is_dragged_over_not_dragged_away(browser, pages):
    """Also where text is selected, which a drag does by itself: the next one would take the selection along instead."""

    def look(page):
        box = page.locator(".strip svg").bounding_box()
        page.keyboard.press("Control+A")
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 20)
        page.mouse.up()
        return count(page)

    assert SOME * 0.45 < browser.visit(pages / "some.html", look) < SOME * 0.55


def test_a_time_after_midnight_is_of_the_next_day(browser, pages):
    """In Brisbane the traces are from 23:45 to 00:35; also where the time is after the last of them, as the strip's end."""

    def look(page):
        found = []
        for since, until in (("23:50", ""), ("00:00", ""), ("", "23:50"), ("", "00:10"), ("00:00", "00:40")):
            page.fill("#from", since)
            page.fill("#until", until)
            found.append(count(page))
        return found

    found = browser.visit(pages / "many.html", look, timezone_id="Australia/Brisbane")
    assert found == [MANY - 300, MANY - 900, 300, 1500, MANY - 900]


def test_the_worst_are_first_and_other_orders_are_there(browser, pages, stories):
    """Failed before retried before slow; by start and by duration."""

    def look(page):
        found = []
        for order in ("worst", "start", "duration"):
            page.select_option("#sort", order)
            found.append(page.locator("#list .started").all_text_contents())
        return found

    worst, start, duration = browser.visit(pages / "stories.html", look, height=3000, timezone_id="UTC")
    clocks = {one.trace_id: at for one, at in zip(stories, start, strict=True)}
    assert start == sorted(start)
    ranked = sorted(stories, key=lambda one: (one.failed, one.retries, one.duration_s), reverse=True)
    assert worst == [clocks[one.trace_id] for one in ranked]
    slowest = sorted(stories, key=lambda one: -one.duration_s)
    assert duration == [clocks[one.trace_id] for one in slowest]


def test_only_lines_near_the_screen_are_elements(browser, pages):
    """Of 3000, at the top, at the end, and after one was unfolded; the page is as long as all of them."""

    def look(page):
        lines = "[...document.querySelectorAll('#list > li')]"
        drawn = [page.locator("#list > li").count()]
        height = page.evaluate(f"document.querySelector('#list').offsetHeight / {lines}[0].offsetHeight")
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        page.wait_for_selector(f"#list > li[aria-posinset='{MANY}']")
        drawn.append(page.locator("#list > li").count())
        page.click("#list > li:last-child summary")
        page.wait_for_selector("#list > li:last-child .row")
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_selector("#list > li[aria-posinset='1']")
        grown = page.evaluate(f"document.querySelector('#list').offsetHeight / {lines}[0].offsetHeight")
        return drawn, height, grown, page.get_attribute("#list > li", "aria-setsize")

    drawn, height, grown, size = browser.visit(pages / "many.html", look)
    assert max(drawn) < 100
    assert height == pytest.approx(MANY, abs=1)
    assert MANY + 2 < grown < MANY + 20
    assert size == str(MANY)


def test_the_count_says_what_is_not_on_the_page(browser, pages, stories):
    """A page of the worst traces names how many there are; a page of all of them does not."""

    def look(page):
        page.check("#slow")
        return page.text_content("#count")

    assert browser.visit(pages / "some.html", look) == f"0 of {SOME} shown, the worst of {MANY}"
    slow = sum(one.duration_s > 1 for one in stories)
    assert browser.visit(pages / "stories.html", look) == f"{slow} of {len(stories)} shown"


def test_keys_reach_everything(browser, pages, stories):
    """A slash goes to the search, arrows from trace to trace, Enter unfolds; what a button copies can be pasted."""

    def look(page):
        page.keyboard.press("/")
        at_search = page.evaluate("document.activeElement.id")
        page.focus("#list summary")
        for key in ("ArrowDown", "ArrowDown", "ArrowUp", "Enter"):
            page.keyboard.press(key)
        page.wait_for_selector("#list > li:nth-child(2) .row")
        copied = page.text_content("#list .body code")
        page.click("#list .copy")
        page.wait_for_function("document.querySelector('#said').textContent === 'Copied trace'")
        page.focus("#search")
        page.keyboard.press("Control+V")
        return at_search, copied, page.input_value("#search"), count(page)

    ranked = sorted(stories, key=lambda one: (one.failed, one.retries, one.duration_s), reverse=True)
    found = browser.visit(pages / "stories.html", look, permissions=["clipboard-read", "clipboard-write"])
    assert found == ("search", ranked[1].trace_id, ranked[1].trace_id, 1)


def test_what_is_inside_of_a_trace(browser, pages):
    """Rows with bars on the trace's own scale; attributes with their units."""

    def look(page):
        page.fill("#search", "recovered")
        page.click("#list summary")
        page.wait_for_selector(".row")
        rows = page.locator(".row > summary").all_inner_texts()
        page.click(".row.wait summary")
        page.wait_for_selector(".row.wait dl")
        return [re.split(r"\s*\n\s*", row) for row in rows], page.inner_text(".row.wait dl")

    rows, attributes = browser.visit(pages / "stories.html", look)
    assert [row[0] for row in rows] == ["identity.get_user", "attempt 1", "wait", "attempt 2", "wait", "attempt 3"]
    assert rows[3][-1] == "GET 429"
    assert re.search(r"mozaiks\.retry\.delay\n0\.\d+ s\n", attributes)
    assert re.search(r"mozaiks\.retry_budget\.balance\n[\d.]+ retries", attributes)


@pytest.mark.parametrize(("width", "lines"), [(1440, 1), (500, 2), (390, 2)])
def test_lines_fit_any_width(browser, pages, width, lines):
    """A trace is one line in a grid on a screen and two on a phone, and nothing overflows; a usual outcome is whole."""

    def look(page):
        page.click("#list summary")
        page.wait_for_selector(".row")
        for row in page.locator(".row > summary").all():
            row.click()
        tops = page.eval_on_selector_all(
            "#list > li:last-child summary > .name, #list > li:last-child summary > .outcome",
            "(all) => all.map((one) => one.getBoundingClientRect().top)",
        )
        names = page.eval_on_selector_all(
            ".name, .outcome",
            "(all) => all.filter((one) => one.textContent.length < 30).map((one) => one.scrollWidth - one.clientWidth)",
        )
        return tops, max(names), page.evaluate("document.documentElement.scrollWidth")

    tops, hidden, wide = browser.visit(pages / "stories.html", look, width=width)
    assert len({round(top) for top in tops}) == lines
    assert hidden <= 0
    assert wide <= width


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_no_rule_of_accessibility_is_violated(browser, pages, width, scheme):
    """axe-core, with a trace and its attributes unfolded; every colour by its contrast."""

    def look(page):
        page.click("#list summary")
        page.wait_for_selector(".row")
        page.click(".row > summary")
        page.wait_for_selector(".row dl")
        return Axe().run(page).response

    found = browser.visit(pages / "stories.html", look, width=width, color_scheme=scheme)
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == []
    assert "color-contrast" in {one["id"] for one in found["passes"]}


def test_print_has_every_line_and_no_controls(browser, pages):
    """While it is printed, lines that are far from the screen are there too."""

    def look(page):
        page.evaluate(
            "addEventListener('beforeprint', () => { window.printed = document.querySelectorAll('li.trace').length; })"
        )
        page.pdf()
        printed = page.evaluate("printed")
        page.emulate_media(media="print")
        return printed, page.is_visible("form"), page.is_visible("#list > li")

    assert browser.visit(pages / "some.html", look, height=300) == (SOME, False, True)


def test_without_scripts_the_overview_is_there(browser, pages):
    """It says that the rest is not."""

    def look(page):
        return page.is_visible("table"), page.is_visible("form"), page.inner_text("noscript")

    found = browser.visit(pages / "stories.html", look, java_script_enabled=False)
    assert found == (True, False, "Without scripts this page shows the overview alone.")


def test_texts_from_outside_stay_texts(browser, tmp_path):
    """Names, values and events that are markup or end the page's data are shown as they are; nothing runs or loads."""
    hostile = "</script><img src=x onerror=alert(1)><b>&amp;\\"
    call = a_call(
        1, hostile, **{hostile: hostile, "mozaiks.settings.hash": hostile, "mozaiks.circuit_breaker.state": hostile}
    )
    (tmp_path / "page.html").write_text(render_page(traces_of([call]), of=1, source=hostile, note=hostile), "utf-8")

    def look(page):
        page.on("dialog", lambda dialog: pytest.fail(dialog.message))
        page.wait_for_selector(".row")
        page.click(".row > summary")
        page.wait_for_selector(".row dl")
        page.fill("#search", "ONERROR=alert(1)><B>&amp;\\")
        return (
            page.text_content(".name"),
            page.locator("dd").all_text_contents(),
            page.locator("img").count(),
            count(page),
        )

    name, values, images, found = browser.visit(tmp_path / "page.html", look)
    assert name == hostile
    assert hostile in values
    assert images == 0
    assert found == 1
    assert json.dumps(hostile)[1:-1] not in (tmp_path / "page.html").read_text("utf-8")
