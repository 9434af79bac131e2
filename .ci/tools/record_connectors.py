"""
Record what the reference gateway responds to the scenarios of our connectors, in each dialect, for their tests.

    python3 .ci/tools/record_connectors.py --write

Writes `tests/recorded/<connector>.json`. What a real platform responds is recorded by `runtime.conformance.recording`.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "connectors")]

import test_conformance

from middleware import PlatformError
from runtime.conformance.recording import recording
from runtime.conformance.values import required_arguments
from runtime.gateway import DEFAULT_API_KEY, Gateway
from runtime.gateway.dialects import DIALECTS

NAMES = ("billing", "discovery", "hosting", "identity", "payment", "service")
FOLDER = ROOT / "tests" / "recorded"


def record(name: str) -> str:
    """Return the file of one connector: its scenario in each dialect, and each failure that reads as an error."""
    declared, responses = getattr(test_conformance, name), []
    for dialect in DIALECTS:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "recorded.json")
            asyncio.run(record_dialect(declared, dialect, file))
            responses += json.loads(file.read_text(encoding="utf-8"))["responses"]
    return json.dumps({"version": 1, "responses": responses}, indent=1, ensure_ascii=False) + "\n"


async def record_dialect(declared, dialect: str, file: Path) -> None:
    """Play the scenario on a gateway, and write what it responded."""
    async with (
        Gateway(dialect=dialect) as gateway,
        recording(declared.connector, gateway.url, DEFAULT_API_KEY, file=file) as connector,
    ):
        await play(declared, connector)


async def play(declared, connector) -> None:
    """Call each step as its user, and the first one as a user who is unknown too."""
    seen = {}
    for step in declared.steps:
        arguments = step.arguments(seen) if callable(step.arguments) else step.arguments
        given = {**required_arguments(getattr(declared.connector.managed, step.operation)), **arguments}
        seen[step.operation] = await getattr(connector, step.operation)(**given, user_jwt="token-ada")
        if len(seen) == 1:
            with contextlib.suppress(PlatformError):
                await getattr(connector, step.operation)(**given, user_jwt="nobody")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the files instead of printing their sizes")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for each in NAMES:
        text = record(each)
        if options.write:
            (FOLDER / f"{each}.json").write_text(text, encoding="utf-8")
        print(f"{each:10} {len(text):7} bytes")
