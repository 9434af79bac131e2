"""
How long the contract check takes for thirty connectors: ours, copied under other names.

    python3 benchmarks/contract_check.py

Prints seconds of a whole process, and of the check alone, best of five.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from runtime.contract import check_paths

NAMES = ("billing", "discovery", "hosting", "identity", "payment", "service")


def write_copies(folder: Path, number: int) -> None:
    """Write *number* copies of each connector of ours under other names, and a registry of all."""
    lines = []
    for name in NAMES:
        text = (ROOT / "runtime" / "connectors" / f"{name}.py").read_text()
        for copy in range(number):
            title = f"{name.title()}{copy}"
            renamed = re.sub(rf"\b(Managed|Mock|){name.title()}Connector\b", rf"\g<1>{title}Connector", text)
            (folder / f"{name}{copy}.py").write_text(renamed)
            lines.append(f"from .{name}{copy} import Managed{title}Connector, Mock{title}Connector\n")
            lines.append(f'{title.upper()} = Connector("{name}", Managed{title}Connector, Mock{title}Connector)\n')
    (folder / "registry.py").write_text("".join(lines))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_copies(place, 5)
        inside, whole = [], []
        for _ in range(5):
            start = time.perf_counter()
            found = check_paths([place], strict=True)
            inside.append(time.perf_counter() - start)
            start = time.perf_counter()
            command = [
                sys.executable,
                "-c",
                "import sys; from runtime.cli.check import main; sys.exit(main(sys.argv[1:]))",
            ]
            subprocess.run([*command, "--strict", name], cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - ourselves
            whole.append(time.perf_counter() - start)
        print(f"thirty connectors, {len(found)} findings: {min(inside):.2f} s, as a process {min(whole):.2f} s")
