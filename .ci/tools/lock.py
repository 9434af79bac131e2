#!/usr/bin/env python3
"""
Write requirements.lock anew: what the commands of a checkout install, by version and digest, at its newest.

    python3 .ci/tools/lock.py

Resolved by uv for every platform and for every interpreter from the oldest supported one on. Above each release is for
what it is needed: the extras of commands, `all` for what every command needs, and `pip` for pip itself, whose wheel the
bootstrap downloads where there is no other.
"""

import re
import sys
import tempfile
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from supply_chain import ROOT, environment, run

sys.path.insert(0, str(ROOT))

from runtime.cli.bootstrap import LOCK, requirements
from runtime.cli.main import COMMANDS

UV = "uv>=0.9,<1"
PIP = "pip>=25,<27"
OLDEST = "3.11"
HEAD = """\
# What the commands of a checkout install, by version and digest: written by .ci/tools/lock.py, which takes the newest.
# Above each release: the extras that need it.
"""
_ENTRY = re.compile(r"^([\w.-]+==\S+(?: ; [^\\\n]+?)?)((?: \\\n +--hash=\S+)+)$", re.MULTILINE)


def main() -> int:
    """Resolve everything together, and then what each extra needs of it."""
    commands = COMMANDS.values()
    extras = {extra for command in commands for extra in chain(command.extras or (), *command.extras_of.values())}
    project = ROOT / "pyproject.toml"
    wanted = {"all": requirements(project, ()), **{extra: requirements(project, [extra]) for extra in sorted(extras)}}
    wanted["pip"] = [PIP]
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        python = environment(work / "tools", UV)
        releases = compiled(python, work, sorted(set(chain(*wanted.values()))), [])
        needed = {name: compiled(python, work, lines, releases) for name, lines in wanted.items()}
    text = HEAD
    for release, digests in releases.items():
        names = [name for name, closure in needed.items() if _bare(release) in map(_bare, closure)]
        text += f"# {' '.join(['all'] if 'all' in names else names)}\n{release}{digests}\n"
    (ROOT / LOCK).write_text(text, "utf-8")
    print(f"{len(releases)} releases in {LOCK}")
    return 0


def _bare(release: str) -> str:
    return release.partition(" ; ")[0]


def compiled(python: Path, work: Path, lines: Iterable[str], within: Iterable[str]) -> dict[str, str]:
    """Resolve *lines* to releases, and their digests; *within* are the releases to choose from."""
    wanted, bounds = work / "wanted.txt", work / "bounds.txt"
    wanted.write_text("\n".join(lines), "utf-8")
    bounds.write_text("\n".join(within), "utf-8")
    command = (python, "-m", "uv", "pip", "compile", "--universal", "--python-version", OLDEST, "--generate-hashes")
    text = run(*command, "--no-header", "--no-annotate", "--quiet", "--constraint", bounds, wanted)
    return dict(_ENTRY.findall(text))


if __name__ == "__main__":
    sys.exit(main())
