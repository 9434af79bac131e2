"""
The commands of two pages of the documentation, run in order, and what they print compared with what the page shows.

In docs/tuning-tutorial.md and docs/generate.md a block of TOML or Python whose first line is `# NAME` is a file. A
block of text that begins with `$ ` is a command; one that ends with ` &` is a server that runs until the end. The
documents of tests/openapi are in the folder. How long pytest took is not compared.

    python3 .ci/tools/tutorial.py                   # compares; minutes, for the simulations of three minutes
    python3 .ci/tools/tutorial.py --short           # without them
    python3 .ci/tools/tutorial.py --write           # writes the pages anew
    python3 .ci/tools/tutorial.py --page generate   # one page
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("tuning-tutorial", "generate")
FILE = re.compile(r"```(?:toml|python)\n# (\S+)\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"```text\n\$ ([^\n]*)\n(.*?)```", re.DOTALL)
LONG = "--duration 180"
LAST_OF_A_SERVER = "Ctrl-C stops it"
VARIES = re.compile(r" in \d+\.\d+s\b")  # how long pytest took


def files(text: str, folder: Path) -> None:
    """Write the files that the page shows."""
    for name, content in FILE.findall(text):
        (folder / name).write_text(f"# {name}\n{content}")


class Shell:
    """Runs commands in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: list[subprocess.Popen[str]] = []
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MOZAIKS_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
        self._environ = {**environ, "PYTHONPATH": str(ROOT), "MOZAIKS_VENV": "none", "PATH": path}

    def output(self, command: str) -> str:
        """Return what *command* prints, as on a terminal."""
        if command.endswith(" &"):
            return self._started(command.removesuffix(" &"))
        done = subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=self._folder,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout

    def _started(self, command: str) -> str:
        server = subprocess.Popen(
            ["/bin/bash", "-c", f"exec {command}"],
            cwd=self._folder,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._servers.append(server)
        lines: list[str] = []
        for line in server.stdout or ():
            lines.append(line)
            if LAST_OF_A_SERVER in line:
                break
        return "".join(lines)

    def close(self) -> None:
        """Stop the servers."""
        for server in self._servers:
            server.terminate()
            server.communicate()


def run(page: Path, *, short: bool) -> tuple[str, int]:
    """Return the page with what its commands print, and how many of them print something else than it shows."""
    text, wrong = page.read_text(), 0
    with tempfile.TemporaryDirectory() as temporary:
        folder, shell = Path(temporary), Shell(Path(temporary))
        for document in (ROOT / "tests/openapi").glob("*.json"):
            shutil.copy(document, folder)
        files(text, folder)
        try:
            for command, shown in COMMAND.findall(text):
                if short and LONG in command:
                    continue
                printed = shell.output(command)
                if VARIES.sub("", printed) != VARIES.sub("", shown):
                    wrong += 1
                    print(f"{command}: prints other than {page.name} shows:\n{printed}")
                    text = text.replace(f"$ {command}\n{shown}```", f"$ {command}\n{printed}```")
        finally:
            shell.close()
    return text, wrong


def main() -> int:
    """Compare or write; returns 0 where the pages show what the commands print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--page", choices=PAGES, action="append")
    options = parser.parse_args()
    total = 0
    for name in options.page or PAGES:
        page = ROOT / "docs" / f"{name}.md"
        text, wrong = run(page, short=options.short)
        if options.write:
            page.write_text(text)
        total += wrong
    return 1 if total and not options.write else 0


if __name__ == "__main__":
    sys.exit(main())
