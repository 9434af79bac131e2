"""
Our generator and three others on the seven real documents of tests/openapi: right types, wrong types, failed.

    python3 benchmarks/generators.py                      # all, in an environment of their own; minutes
    python3 benchmarks/generators.py --only ours          # without the others
    MOZAIKS_GENERATORS_VENV=/path python3 benchmarks/generators.py    # in an environment that is kept

Writes benchmarks/generators.json (each fact with each verdict) and prints the tables of docs/generate.md. The
versions are pinned below; openapi-generator needs Java. How long our generator takes is the best of five.

Rules, written before the first run. Each generator is run as its documentation says, without options that change
types; where openapi-generator rejects a document, once more with its own --skip-validate-spec. Facts are made by rule
from each document: for every object that a JSON response contains, and each of its properties, a response with that
one property set to a value as .NET writes it. What the package of the generator reads is

- **right** where the value has the type that .NET means, and nothing is lost:
  - integer, also as a union with string: `int`, for int64 above 2**53
  - number, unless its format is float: `Decimal` with all of 18 digits
  - date-time: `datetime` with the zone and microseconds of `2027-01-15T08:00:00.1234567Z`; without offset: `datetime`
  - date, time; uuid and guid; TimeSpan by format or pattern; byte: `date`, `time`, `UUID`, `timedelta`, `bytes`
  - enum: the member has the document's own name, where it has names for numbers
  - an unknown value of an enum is kept; an unknown field does no harm
  - null for a text or an object that is not `required`: None, or an empty list or dict
  - a variant behind the base class that a response refers to has the variant's own fields
- **wrong** where it is read as anything else,
- **failed** where reading raises, the class is absent, its module does not import, or the generator gives up.

Operations are what the package has a function for; datamodel-code-generator writes models alone.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from runtime.gateway.samples import Samples
from runtime.generate import Options, changes, connector_files, make_plan, write
from runtime.openapi import Schema, load, read

PEERS = {
    "openapi-python-client": "openapi-python-client==0.29.1",
    "datamodel-code-generator": "datamodel-code-generator==0.89.0",
    "openapi-generator": "openapi-generator-cli==7.26.0",
}
DOCUMENTS = sorted((ROOT / "tests/openapi").glob("*.json"))
RESULTS = ROOT / "benchmarks/generators.json"
_SPAN = r"\d{2}:\d{2}:\d{2}"
_TEXTS = {"date": ("date or time", "2027-01-15"), "time": ("date or time", "08:30:00"), "byte": ("bytes", "dGV4dA==")}
_TEXTS |= dict.fromkeys(("uuid", "guid"), ("uuid", "00000000-0000-0000-0000-000000000007"))
_TEXTS |= dict.fromkeys(("duration", "time-span", "date-span", "timespan"), ("duration", "1.02:03:04.5000000"))
_NUMBER = "1234567890.12345678"


# --- facts ------------------------------------------------------------------------------------------------------------


def received(api):
    """Return the components that a JSON response contains."""
    waiting = [
        name for one in api.operations if one.success and one.success.json for name in api.references(one.success.json)
    ]
    found = []
    while waiting:
        name = waiting.pop(0)
        if name in api.schemas and name not in found:
            found.append(name)
            waiting += api.references(api.schemas[name])
    return [name for name in found if api.resolved(api.schemas[name]).kind == "object"]


def enum_facts(target):
    """Yield the facts of a property that is an enum: kind, JSON on the wire, and what is wanted of it."""
    if target.enum_names:
        yield "enum name", json.dumps(target.enum[-1]), target.enum_names[-1]
    if target.kind == "string":
        yield "unknown enum value", '"LaterValue"', "LaterValue"
    elif target.kind == "integer" and target.enum_names:
        yield "unknown enum value", "4711", "4711"


def value_facts(target):
    """Yield the facts of a property of another type, as `enum_facts`."""
    if target.kind == "integer":
        big = "9007199254740993" if target.format == "int64" else "7"
        yield "integer", big, big
    elif target.kind == "number" and target.format != "float":
        yield "number", _NUMBER, _NUMBER
    elif target.format == "date-time":
        yield "date-time", '"2027-01-15T08:00:00.1234567Z"', ""
        yield "date-time without offset", '"2027-01-15T08:00:00.1234567"', ""
    elif target.format in _TEXTS or _SPAN in str(target.limits.get("pattern", "")):
        kind, text = _TEXTS.get(target.format) or _TEXTS["duration"]
        yield kind, json.dumps(text), text


def is_reference(target):
    """Whether it is a text, an object or bytes: null in .NET unless it is required."""
    return target.kind == "object" or (target.kind == "string" and target.format in {"", "byte"} and not target.enum)


def variant_facts(api, name, samples):
    """Yield the facts of the variants behind a base class."""
    schema = api.resolved(api.schemas[name])
    inherited = api.all_properties(schema)
    for tag, variant in (schema.discriminator.mapping if schema.discriminator else {}).items():
        own = [
            wire
            for wire, one in api.all_properties(api.schemas[variant]).items()
            if wire not in inherited and api.resolved(one.schema).kind == "string" and not one.schema.enum
        ]
        if variant != name and own:
            value = samples.of(Schema("ref", ref=variant))
            text = json.dumps({**value, own[0]: "kept", schema.discriminator.name: tag})
            yield {"kind": "variant", "component": name, "property": own[0], "text": text, "wanted": "kept"}


def facts(api):
    """Yield the facts of a document, by the rules above."""
    samples = Samples(api)
    tags = {one.discriminator.name for one in api.schemas.values() if one.discriminator}
    for name in received(api):
        properties = api.all_properties(api.resolved(api.schemas[name]))
        base = samples.of(Schema("ref", ref=name))
        if properties:
            text = json.dumps({**base, "xLater": {"a": [1]}})
            yield {"kind": "unknown field", "component": name, "property": "", "text": text, "wanted": ""}
        for wire, one in properties.items():
            target = api.resolved(one.schema)
            found = [] if wire in tags else list(enum_facts(target) if target.enum else value_facts(target))
            if wire not in tags and is_reference(target) and not one.required:
                found.append(("null", "null", ""))
            for kind, value, wanted in found:
                text = json.dumps({**base, wire: "@"}).replace('"@"', value)
                yield {"kind": kind, "component": name, "property": wire, "text": text, "wanted": wanted}
        yield from variant_facts(api, name, samples)


# --- generators -------------------------------------------------------------------------------------------------------


def ours(document, folder):
    """Write our connector; returns what is wrong, and how long it took with reading and formatting."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        files = connector_files(make_plan(read(load(document)), Options("peer")))
        took.append(time.perf_counter() - began)
    list(write(folder, changes(folder, files)))
    return "", min(took)


def peer(generator, document, folder, bin_folder):
    """Run another generator; returns what is wrong, and how long it took."""
    client = [
        "openapi-python-client",
        "generate",
        "--meta",
        "none",
        "--path",
        document,
        "--output-path",
        folder / "peer",
    ]
    models = ["datamodel-codegen", "--input", document, "--input-file-type", "openapi", "--output", folder / "peer.py"]
    models += ["--output-model-type", "pydantic_v2.BaseModel"]
    cli = ["openapi-generator-cli", "generate", "-g", "python", "-i", document, "-o", folder]
    cli += ["--additional-properties", "packageName=peer"]
    command = {"openapi-python-client": client, "datamodel-code-generator": models, "openapi-generator": cli}[generator]
    began = time.perf_counter()
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}

    def run(*more):
        return subprocess.run(  # noqa: S603 - the generators of the environment above
            [bin_folder / command[0], *command[1:], *more],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    done = run()
    note = ""
    if done.returncode and generator == "openapi-generator":
        note, done = "rejects the document; with --skip-validate-spec", run("--skip-validate-spec")
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        note = f"gives up: {' '.join(lines[-2:])[:160]}" if lines else "gives up"
    return note, time.perf_counter() - began


def judged(generator, folder, wanted, python):
    """Return the verdicts on a generated package."""
    path = str(ROOT) if generator == "ours" else ""
    done = subprocess.run(  # noqa: S603 - ourselves
        [python, ROOT / "benchmarks/generator_probe.py", generator, folder],
        input=json.dumps(wanted),
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"problem": done.stderr[-300:], "operations": 0, "verdicts": ["failed"] * len(wanted)}
    return json.loads(done.stdout.splitlines()[-1])


def environment():
    """Return the folder of the programs of an environment with the other generators, and what they need."""
    kept = os.environ.get("MOZAIKS_GENERATORS_VENV")
    place = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="generators-"))
    if not (place / "bin/openapi-python-client").exists():
        venv.create(place, with_pip=True)
        wanted = [*PEERS.values(), "urllib3>=2", "python-dateutil", "pydantic[email]>=2", "httpx", "attrs"]
        subprocess.run([place / "bin/pip", "install", "--quiet", *wanted], check=True)  # noqa: S603 - fixed arguments
    return place / "bin"


def measure(generators):
    """Return the results, by document and generator."""
    programs = environment() if set(generators) - {"ours"} else None
    found = {}
    for document in DOCUMENTS:
        api = read(load(document))
        wanted = list(facts(api))
        rows = {}
        for generator in generators:
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary).resolve()
                shutil.copy(document, folder)
                source = folder / document.name
                note, seconds = (
                    ours(source, folder) if generator == "ours" else peer(generator, source, folder, programs)
                )
                python = sys.executable if generator == "ours" else programs / "python"
                outcome = judged(generator, str(folder), wanted, python)
            outcome["problem"] = "; ".join(filter(None, (note, outcome["problem"]))).replace(str(folder), "…")
            rows[generator] = {**outcome, "seconds": round(seconds, 2)}
            print(document.name, generator, Counter(outcome["verdicts"]), outcome["problem"], file=sys.stderr)
        found[document.name] = {"operations": len(api.operations), "facts": wanted, "generators": rows}
    return found


# --- tables -----------------------------------------------------------------------------------------------------------


def committed(found):
    """Return the results as JSON, with a line for each fact: its kind, its place, and each generator's verdict."""
    lines = []
    for name, one in found.items():
        rows = one["generators"]
        about = {generator: [row["operations"], row["seconds"], row["problem"]] for generator, row in rows.items()}
        lines.append(f"{json.dumps(name)}: {{")
        lines.append(f'"operations, seconds, problem": {json.dumps(about, ensure_ascii=False)},')
        lines.append(f'"verdicts of": {json.dumps(list(rows))},\n"facts": [')
        verdicts = zip(*(row["verdicts"] for row in rows.values()), strict=True)
        facts = [
            json.dumps([fact["kind"], f"{fact['component']}.{fact['property']}".rstrip("."), *each])
            for fact, each in zip(one["facts"], verdicts, strict=True)
        ]
        lines.append(",\n".join(facts) + "\n]},")
    return "{\n" + "\n".join(lines).removesuffix(",") + "\n}\n"


def shown(count):
    """Return the verdicts as a cell."""
    return f"{count['right']} / {count['wrong']} / {count['failed']}"


def tables(found):
    """Return the tables of docs/generate.md: by document, and by kind of fact; right / wrong / failed."""
    generators = list(next(iter(found.values()))["generators"])
    lines = [f"| document (facts, operations) | {' | '.join(generators)} |", "| --- |" + " --- |" * len(generators)]
    for name, one in found.items():
        cells = []
        for generator in generators:
            row = one["generators"][generator]
            cell = shown(Counter(row["verdicts"]))
            cells.append(cell if generator.startswith("datamodel") else f"{cell}; {row['operations']}")
        lines.append(f"| {name} ({len(one['facts'])}, {one['operations']}) | {' | '.join(cells)} |")
    by_kind = {}
    for one in found.values():
        for generator in generators:
            for fact, verdict in zip(one["facts"], one["generators"][generator]["verdicts"], strict=True):
                by_kind.setdefault(fact["kind"], {}).setdefault(generator, Counter())[verdict] += 1
    lines += ["", f"| fact | {' | '.join(generators)} |", "| --- |" + " --- |" * len(generators)]
    total = {generator: Counter() for generator in generators}
    for kind, counts in sorted(by_kind.items()):
        lines.append(f"| {kind} | {' | '.join(shown(counts[one]) for one in generators)} |")
        for generator in generators:
            total[generator] += counts[generator]
    lines.append(f"| all | {' | '.join(shown(total[one]) for one in generators)} |")
    slowest = max(found, key=lambda name: found[name]["operations"])
    lines += ["", f"{slowest}, ours: {found[slowest]['generators']['ours']['seconds']:.2f} s"]
    return "\n".join(lines)


def main():
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=["ours", *PEERS])
    options = parser.parse_args()
    found = measure(options.only or ["ours", *PEERS])
    if not options.only:
        RESULTS.write_text(committed(found))
    print(tables(found))


if __name__ == "__main__":
    main()
