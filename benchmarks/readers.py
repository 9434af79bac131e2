"""
Kept libraries that read OpenAPI documents, on the seven real documents of tests/openapi: which ones they read.

    python3 benchmarks/readers.py       # in an environment of its own for each library; a minute

Prints a row for each library: the documents that it reads, and the error for each other one. What it makes of them is
said in docs/generate.md.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted((ROOT / "tests/openapi").glob("*.json"))
TIMEOUT_S = 120

# What is installed, and what reads the document at `path` with the parsed JSON at `document`.
LIBRARIES = {
    "openapi-pydantic==0.6.0": "import openapi_pydantic; openapi_pydantic.parse_obj(document)",
    "openapi-spec-validator==0.9.0": "from openapi_spec_validator import validate; validate(document)",
    "openapi-core==0.23.1": "from openapi_core import OpenAPI; OpenAPI.from_dict(document)",
    "prance==26.7.19.0 openapi-spec-validator==0.9.0": (
        "import prance; prance.ResolvingParser(path, backend='openapi-spec-validator', strict=False)"
    ),
    "openapi3-parser==2.0.0": "from openapi_parser import parse; parse(path)",
    "openapi3==1.8.2": "from openapi3 import OpenAPI; OpenAPI(document)",
    "aiopenapi3==0.11.0": "from aiopenapi3 import OpenAPI; OpenAPI.loads('http://service/doc.json', text)",
}
_READ = """
import json, sys
path = sys.argv[1]
text = open(path, encoding="utf-8-sig").read()
document = json.loads(text)
try:
    {statement}
except Exception as error:
    print(f"{{type(error).__name__}}: {{' '.join(str(error).split())[:110]}}")
"""


def main():
    """Print the table."""
    print("| library | reads | what broke |\n| --- | --- | --- |")
    for wanted, statement in LIBRARIES.items():
        with tempfile.TemporaryDirectory() as folder:
            venv.create(folder, with_pip=True)
            python = Path(folder) / "bin/python"
            subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted.split()], check=True)  # noqa: S603 - fixed
            broken = []
            for document in DOCUMENTS:
                done = subprocess.run(  # noqa: S603 - the library above
                    [python, "-c", _READ.format(statement=statement), document],
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=TIMEOUT_S,
                )
                problem = done.stdout.strip() or (done.stderr.strip() if done.returncode else "")
                if problem:
                    broken.append(f"{document.stem}: {problem.splitlines()[-1]}".replace("|", "\\|"))
            name = wanted.split()[0].replace("==", " ")
            print(
                f"| {name} | {len(DOCUMENTS) - len(broken)} of {len(DOCUMENTS)} | {'<br>'.join(broken)} |", flush=True
            )


if __name__ == "__main__":
    sys.exit(main())
