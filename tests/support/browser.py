"""A page in a real browser without a window, where one is installed."""

import html
import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from playwright.sync_api import sync_playwright

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def title_of(page, profile):
    """Return the title that a script of *page* has written, as JSON; *profile* is a folder for the browser's own files."""
    command = [
        BROWSER,
        *["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
        *["--disable-component-update", "--disable-sync", "--allow-file-access-from-files", "--dump-dom"],
        f"--user-data-dir={profile}",
        "--virtual-time-budget=2000",
        page.as_uri(),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", result.stdout).group(1)))


class Driver:
    """
    Playwright with the system's browser, in a thread of its own: its event loop must not meet those of tests.

    A page that logs to its console, or whose script raises, fails the visit: a violation of its policy is logged.
    """

    def __enter__(self):
        self._thread = ThreadPoolExecutor(1)
        self._thread.submit(self._start).result()
        return self

    def __exit__(self, *_error):
        self._thread.submit(self._stop).result()
        self._thread.shutdown()

    def _start(self):
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])

    def _stop(self):
        self._browser.close()
        self._playwright.stop()

    def visit(self, file, look, *, width=1440, height=900, **context):
        """Open *file* in a window of that size and return what *look* returns of the page; *context* is Playwright's."""
        return self._thread.submit(self._visit, file, look, {"width": width, "height": height}, context).result()

    def _visit(self, file, look, viewport, options):
        context = self._browser.new_context(viewport=viewport, **options)
        try:
            page = context.new_page()
            said = []
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto(file.as_uri())
            found = look(page)
            assert said == []
            return found
        finally:
            context.close()
