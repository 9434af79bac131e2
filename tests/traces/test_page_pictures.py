"""
The page of traces as pictures, next to those that were looked at: three widths, light and dark.

    python3 -m runtime test tests/traces/test_page_pictures.py --update-pictures    # after a change that is meant

Compared by the browser itself, on a canvas. Another machine may have other fonts, and then no two pictures are alike: there
only the style of each kind of element is compared (`pictures/*.txt`), and the reason of a skipped test says so.
"""

import base64
import time
from pathlib import Path
from random import Random

import pytest

from runtime.traces.calls import calls_of
from runtime.traces.model import traces_of
from runtime.traces.page import render_page
from runtime.traces.states import ServiceStates
from runtime.traces.summary import Summary
from runtime.traces.trace_file import Span, SpanReader

pytestmark = pytest.mark.sockets
ROOT = Path(__file__).parents[2]
STORIES = ROOT / "docs/traces/stories.jsonl"
PICTURES = Path(__file__).parent / "pictures"
SIZES = {390: 2000, 500: 1900, 1440: 1250}
MOST_DIFFERENT = 0.0005
"""Share of pixels that may differ, as smoothed edges do from one version of a browser to the next."""

# What each kind of element looks like, whichever fonts there are; of a colour of the page, a change is seen here too.
LOOKS = """() => {
  const wanted = ["display", "color", "background-color", "border-top-width", "border-top-color", "border-radius",
    "padding-top", "padding-left", "margin-top", "margin-bottom", "font-size", "font-weight", "fill", "stroke"];
  const found = new Map();
  for (const one of document.body.querySelectorAll("*")) {
    if (!one.getClientRects().length) continue;
    const name = [one.localName, ...one.classList].join(".");
    const style = getComputedStyle(one);
    const look = wanted.map((key) => style.getPropertyValue(key)).join("; ");
    if (!found.has(name)) found.set(name, new Set());
    found.get(name).add(look);
  }
  return [...found].flatMap(([name, looks]) => [...looks].map((look) => `${name}: ${look}`)).sort();
}"""

FONTS = """() => {
  const context = document.createElement("canvas").getContext("2d");
  const code = document.createElement("code");
  document.body.append(code);
  const families = [document.body, code].map((one) => getComputedStyle(one).fontFamily);
  code.remove();
  return families.flatMap((family) => ["400", "600"].map((weight) => {
    context.font = `${weight} 100px ${family}`;
    return context.measureText("0123456789 identity.get_user → µ ms, Il1").width.toFixed(1);
  })).join(" ");
}"""

DIFFERENCE = """async ([before, after]) => {
  const read = async (text) => {
    const image = new Image();
    image.src = `data:image/png;base64,${text}`;
    await image.decode();
    return image;
  };
  const images = [await read(before), await read(after)];
  const width = Math.max(...images.map((one) => one.width)), height = Math.max(...images.map((one) => one.height));
  const canvas = document.createElement("canvas");
  Object.assign(canvas, {width, height});
  const context = canvas.getContext("2d", {willReadFrequently: true});
  const [first, second] = images.map((one) => {
    context.clearRect(0, 0, width, height);
    context.drawImage(one, 0, 0);
    return context.getImageData(0, 0, width, height);
  });
  let different = 0;
  for (let at = 0; at < first.data.length; at += 4) {
    let most = 0;
    for (let of = at; of < at + 4; of++) most = Math.max(most, Math.abs(first.data[of] - second.data[of]));
    if (most > 24) {
      different += 1;
      second.data.set([255, 0, 120, 255], at);
    } else {
      for (let of = at; of < at + 3; of++) second.data[of] = 170 + second.data[of] / 3;
    }
  }
  context.putImageData(second, 0, 0);
  return [different / (width * height), canvas.toDataURL("image/png").split(",")[1]];
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The stories, and six minutes around a moment from which one operation is slow and fails."""
    spans = [*SpanReader().read(STORIES.read_bytes().splitlines()), *incident()]
    summary, states = Summary(), ServiceStates()
    for call in calls_of(spans):
        summary.add(call)
        states.add(call)
    found = traces_of(spans, summary.medians())
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.with_name("blank.html").write_text("<!doctype html>", "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        text = render_page(found, of=len(found), source="incident.jsonl", summary=summary, states=states)
    time.tzset()
    file.write_text(text, "utf-8")
    return file


def incident():
    chance = Random(5)
    start = min(span.start_ns for span in SpanReader().read(STORIES.read_bytes().splitlines()))
    for number in range(360):
        name = ("identity.get_user", "billing.get_subscription", "hosting.list_apps")[number % 3]
        service, _, operation = name.partition(".")
        ill = name == "billing.get_subscription" and number > 200
        failed = ill and chance.random() < 0.4
        at = start + number * 1_000_000_000
        yield Span(
            trace_id=f"{number + 1:032x}",
            span_id=f"{number + 1:016x}",
            parent_id="",
            name=name,
            kind="INTERNAL",
            start_ns=at,
            end_ns=at + int(chance.uniform(0.9, 1.1) * (3e9 if ill else 6e6)),
            status="ERROR" if failed else "UNSET",
            message="",
            attributes={
                "mozaiks.connector.name": service,
                "mozaiks.connector.operation": operation,
                "mozaiks.outcome": "failure" if failed else "success",
                "mozaiks.settings.hash": "1f0c77aa" if number < 270 else "93be01d4",
                "mozaiks.circuit_breaker.state": "half-open" if ill and number > 330 else "closed",
                **({"error.type": "503"} if failed else {}),
            },
            events=(),
            service="core",
        )


def picture_of(browser, page, width, scheme, **context):
    def look(tab):
        tab.click("#list summary")
        tab.wait_for_selector(".row")
        tab.evaluate("scrollTo(0, 0)")
        return tab.screenshot(animations="disabled", caret="hide"), tab.evaluate(FONTS), tab.evaluate(LOOKS)

    return browser.visit(
        page,
        look,
        width=width,
        height=SIZES[width],
        color_scheme=scheme,
        timezone_id="UTC",
        locale="en-GB",
        reduced_motion="reduce",
        device_scale_factor=1,
        **context,
    )


def difference(browser, page, before, after):
    """Return the share of pixels that differ, and a picture of them."""
    both = [base64.b64encode(one).decode() for one in (before, after)]
    share, drawn = browser.visit(page.with_name("blank.html"), lambda tab: tab.evaluate(DIFFERENCE, both))
    return share, base64.b64decode(drawn)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
def test_the_page_looks_as_it_was_seen(browser, page, width, scheme, tmp_path, pytestconfig):
    """With the same fonts pixel by pixel; with others each kind of element by its style, and that is said."""
    picture, texts = PICTURES / f"{width}-{scheme}.png", PICTURES / f"{width}-{scheme}.txt"
    seen, fonts, looks = picture_of(browser, page, width, scheme)
    if pytestconfig.getoption("--update-pictures"):
        PICTURES.mkdir(exist_ok=True)
        picture.write_bytes(seen)
        texts.write_text("\n".join([fonts, *looks, ""]), "utf-8")
    wanted_fonts, *wanted_looks = texts.read_text("utf-8").splitlines()
    if fonts != wanted_fonts:
        assert looks == wanted_looks
        pytest.skip("other fonts here: styles were compared and are the same, pixels were not")
    share, drawn = difference(browser, page, picture.read_bytes(), seen)
    if share > MOST_DIFFERENT:
        (tmp_path / "seen.png").write_bytes(seen)
        (tmp_path / "difference.png").write_bytes(drawn)
        pytest.fail(f"{share:.2%} of the pixels of {picture.name} differ, drawn in {tmp_path}/difference.png")
    assert looks == wanted_looks


@pytest.mark.parametrize(
    ("old", "new"), [("--bad: #c2261f", "--bad: #26c21f"), ("margin: 1rem 0 .4rem", "margin: 1rem 0 .6rem")]
)
def test_a_changed_style_is_seen_in_pixels_and_in_styles(browser, page, old, new):
    """Another colour of what failed, and another distance below headings: where fonts are others, too."""
    text = page.read_text("utf-8")
    assert old in text
    (changed := page.with_name("changed.html")).write_text(text.replace(old, new), "utf-8")
    before, fonts, looks = picture_of(browser, page, 500, "light")
    after, same_fonts, other_looks = picture_of(browser, changed, 500, "light", bypass_csp=True)
    assert same_fonts == fonts
    assert difference(browser, page, before, after)[0] > MOST_DIFFERENT
    assert other_looks != looks


def test_other_fonts_are_noticed(browser, page):
    """A machine without the usual ones compares styles alone."""
    text = page.read_text("utf-8").replace("system-ui, sans-serif", "serif")
    (changed := page.with_name("changed.html")).write_text(text, "utf-8")
    fonts = [picture_of(browser, one, 500, "light", bypass_csp=True)[1] for one in (page, changed)]
    assert fonts[0] != fonts[1]
