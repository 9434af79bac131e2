"""
What the page of `python3 -m runtime trace FILE --html PAGE` does in a real browser: how soon it opens, how it scrolls.

    python3 benchmarks/trace_page.py                   # 5 000 traces
    python3 benchmarks/trace_page.py --traces 20000
    python3 benchmarks/trace_page.py --quick           # the short form of CI: 500 traces

Needs the extra `browser`, and Chromium of the system. Each figure is the median of three visits. The page is open when
its script has ended, counted from the start of the navigation. Scrolling is from the first line to the last in 240
frames, four seconds at 60 frames per second; a frame is late when it comes a whole frame or more after its time. CPU is
the page's main thread's, which differs less on a busy machine; at 60 frames per second there are 16.7 ms for each.
Fails when not all traces are listed, or the page logs an error; never on time.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.trace_summary import write

TRACES = 5000
QUICK = 500
VISITS = 3
FRAMES = 240
OPENED = """() => {
  const [visit] = performance.getEntriesByType("navigation");
  const [paint] = performance.getEntriesByName("first-contentful-paint");
  return {"opens in, ms": visit.domInteractive, "first paint, ms": paint.startTime};
}"""
SCROLLED = """() => new Promise((done) => {
  const all = document.documentElement.scrollHeight - innerHeight, times = [];
  const step = (now) => {
    times.push(now);
    scrollTo(0, (all * times.length) / FRAMES);
    if (times.length <= FRAMES) return requestAnimationFrame(step);
    const frames = times.slice(1).map((at, index) => at - times[index]).sort((a, b) => a - b);
    done({
      "frames per second while scrolling": (1000 * FRAMES) / (now - times[0]),
      "late frames, %": (100 * frames.filter((one) => one > (2 * 1000) / 60 - 1).length) / FRAMES,
      "longest frame, ms": frames.at(-1),
    });
  };
  requestAnimationFrame(step);
})""".replace("FRAMES", str(FRAMES))
USED = """() => {
  const timed = (id, value) => {
    const control = document.getElementById(id), began = performance.now();
    control.value = value;
    control.dispatchEvent(new Event("input"));
    document.body.offsetHeight; // lays the page out
    return performance.now() - began;
  };
  return {
    "first search, ms": timed("search", "list_items"),
    "second search, ms": timed("search", ""),
    "sort, ms": timed("sort", "duration"),
  };
}"""


def visit(page: Page, file: Path, traces: int) -> dict[str, float]:
    """Open the page and use it; returns the figures."""
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def cpu_ms() -> float:
        found = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        return 1000.0 * float(found["TaskDuration"])

    before = cpu_ms()
    page.goto(file.as_uri())
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))")
    found: dict[str, float] = page.evaluate(OPENED)
    found["CPU until it is open and drawn, ms"] = cpu_ms() - before
    before = cpu_ms()
    scrolled: dict[str, float] = page.evaluate(SCROLLED)
    found |= scrolled | {"CPU per frame, ms": (cpu_ms() - before) / FRAMES}
    used: dict[str, float] = page.evaluate(USED)
    said = page.text_content("#count")
    if said != f"{traces} of {traces} shown" or errors:
        raise SystemExit(f"trace_page: the page says {said!r}, and logs {errors}")
    return found | used


def main() -> None:
    """Write traces and their page, and visit it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=TRACES)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} traces")
    options = parser.parse_args()
    traces = QUICK if options.quick else options.traces
    browser = shutil.which("chromium")
    if browser is None:
        print("no browser here: nothing is measured")
        return
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        spans, file = Path(folder) / "traces.jsonl", Path(folder) / "page.html"
        write(spans, traces)
        command = [sys.executable, "-m", "runtime", "trace", spans, "--limit", str(traces), "--html", file]
        subprocess.run(list(map(str, command)), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        found = []
        for _ in range(VISITS):
            page = chromium.new_page(viewport={"width": 1440, "height": 900})
            found.append(visit(page, file, traces))
            page.close()
        print(f"{traces} traces, {file.stat().st_size / 1e6:.1f} MB, Chromium {chromium.version}")
        chromium.close()
    for name in found[0]:
        print(f"{name}: {statistics.median(one[name] for one in found):.1f}")


if __name__ == "__main__":
    main()
