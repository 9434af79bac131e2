"""
Remove each layer of the stack, one at a time, and see a test fail; works on the copy of the project it is run in.

A layer whose removal no test detects would be dead code, or untested.
"""

import ast
import subprocess
import sys
from pathlib import Path

STACK = Path(__file__).resolve().parents[2] / "middleware" / "stack.py"
ORDER = "tests/test_end_to_end.py::test_the_layers_stand_in_the_documented_order"  # would detect any removal


def layers() -> list[ast.expr]:
    """Each layer in the list of the stack, outermost first."""
    (found,) = [
        node.value
        for node in ast.walk(ast.parse(STACK.read_text()))
        if isinstance(node, ast.AnnAssign)
        and getattr(node.target, "id", "") == "layers"
        and isinstance(node.value, ast.List)
    ]
    return found.elts


def name_of(layer: ast.expr) -> str:
    """Name of the layer's class or variable; of layers that are spread into the list, of the first class."""
    if isinstance(layer, ast.Starred):
        layer = next(node for node in ast.walk(layer) if isinstance(node, ast.Call))
    return ast.unparse(layer).partition("(")[0]


def main() -> int:
    """Remove one layer after the other; returns 1 when no test fails for one of them."""
    source = STACK.read_text()
    lines = source.splitlines(keepends=True)
    survived = False
    for layer in layers():
        STACK.write_text("".join(lines[: layer.lineno - 1] + lines[layer.end_lineno :]))
        command = [sys.executable, "-m", "pytest", "tests/test_end_to_end.py", "-qx", "--deselect", ORDER]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        failed = [line.partition("::")[2].partition(" ")[0] for line in result.stdout.splitlines() if "FAILED" in line]
        print(f"{name_of(layer)}: detected by {failed[0]}" if failed else f"{name_of(layer)}: NOT DETECTED")
        survived |= not failed
    STACK.write_text(source)
    return int(survived)


if __name__ == "__main__":
    sys.exit(main())
