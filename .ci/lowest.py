"""Print the project's requirements at their floors: `>=X` becomes `==X`, for the suite on the lowest versions."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runtime.cli.bootstrap import requirements

for line in requirements(Path("pyproject.toml"), ["test"]):
    name, floor = re.match(r"([A-Za-z0-9_.-]+)>=([^,;\s]+)", line).groups()
    print(f"{name}=={floor}")
