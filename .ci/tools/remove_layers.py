"""
Remove each layer of the stack, one at a time, and see a test fail; works on the copy of the project it is run in.

A layer whose removal no test detects would be dead code, or untested.
"""

import ast
import subprocess
import sys
from pathlib import Path

STACK = Path("middleware/stack.py")
ORDER = "tests/test_end_to_end.py::test_the_layers_stand_in_the_documented_order"  # would detect any removal

source = STACK.read_text()
lines = source.splitlines(keepends=True)
(layers,) = [
    node.value
    for node in ast.walk(ast.parse(source))
    if isinstance(node, ast.AnnAssign)
    and getattr(node.target, "id", "") == "layers"
    and isinstance(node.value, ast.List)
]
survived = []
for layer in layers.elts:
    STACK.write_text("".join(lines[: layer.lineno - 1] + lines[layer.end_lineno :]))
    command = [sys.executable, "-m", "pytest", "tests/test_end_to_end.py", "-qx", "--deselect", ORDER]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    failed = [line.partition("::")[2].partition(" ")[0] for line in result.stdout.splitlines() if "FAILED" in line]
    name = ast.unparse(layer).partition("(")[0]
    print(f"{name}: detected by {failed[0]}" if failed else f"{name}: NOT DETECTED")
    if not failed:
        survived.append(name)
STACK.write_text(source)
sys.exit(bool(survived))
