"""A page in a real browser without a window, where one is installed."""

import html
import json
import re
import shutil
import subprocess

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
