"""
The commands of docs/tuning-tutorial.md, run, and what they print compared with what the page shows.

A block of TOML whose first line is `# NAME` is a file. A block of text that begins with `$ python3 -m runtime config`
is a command.

    python3 .ci/tools/tutorial.py            # compares; minutes, for the simulations of three minutes
    python3 .ci/tools/tutorial.py --short    # without them
    python3 .ci/tools/tutorial.py --write    # writes the page anew
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tuning-tutorial.md"
FILE = re.compile(r"```toml\n# (\S+)\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"```text\n\$ (python3 -m runtime config [^\n]*)\n(.*?)```", re.DOTALL)
LONG = "--duration 180"


def files(text: str, folder: Path) -> None:
    """Write the files that the page shows."""
    for name, content in FILE.findall(text):
        (folder / name).write_text(f"# {name}\n{content}")


def output(command: str, folder: Path) -> str:
    """Run *command* in *folder*; returns what it prints."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MOZAIKS_")}
    environ |= {"PYTHONPATH": str(ROOT), "MOZAIKS_VENV": "none"}
    arguments = [sys.executable, *shlex.split(command)[1:]]
    return subprocess.run(arguments, cwd=folder, env=environ, capture_output=True, text=True, check=False).stdout


def main() -> int:
    """Compare or write; returns 0 where the page shows what the commands print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    text, wrong = PAGE.read_text(), 0
    with tempfile.TemporaryDirectory() as temporary:
        files(text, Path(temporary))
        for command, shown in COMMAND.findall(text):
            if options.short and LONG in command:
                continue
            printed = output(command, Path(temporary))
            if printed != shown:
                wrong += 1
                print(f"{command}: prints other than {PAGE.name} shows")
                text = text.replace(f"$ {command}\n{shown}```", f"$ {command}\n{printed}```")
    if options.write:
        PAGE.write_text(text)
        return 0
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
