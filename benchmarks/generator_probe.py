"""
What a generated package makes of one value at a time; run by generators.py in the environment of the generator.

    python benchmarks/generator_probe.py GENERATOR FOLDER < facts.json > verdicts.json

The rules for a verdict are in generators.py. Standard library alone, and what the generated package imports.
"""

import dataclasses
import importlib
import json
import pkgutil
import re
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from uuid import UUID

PACKAGES = {"ours": "peer_connector", "openapi-python-client": "peer", "datamodel-code-generator": "peer"}
PACKAGES["openapi-generator"] = "peer"


def plain(name):
    """Return a name as every convention spells it."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


class Probe:
    """Finds the classes of a generated package, and reads documents with them."""

    def __init__(self, generator, folder):
        sys.path.insert(0, folder)
        self.generator = generator
        self.package = importlib.import_module(PACKAGES[generator])
        names = [
            one.name for one in pkgutil.walk_packages(getattr(self.package, "__path__", ()), f"{PACKAGES[generator]}.")
        ]
        modules, self.broken = [self.package], []
        for name in names:
            try:
                modules.append(importlib.import_module(name))
            except Exception as error:  # whatever a generated module raises; a user need not import it
                self.broken.append(f"{type(error).__name__}: {error}")
        self.classes, self.operations = {}, 0
        for module in modules:
            own = {plain(name): one for name, one in vars(module).items() if isinstance(one, type)}
            self.classes.update((name, one) for name, one in own.items() if one.__module__ == module.__name__)
            self.operations += self._operations(module)

    def _operations(self, module):
        """Functions that call one operation of the document each."""
        if self.generator == "openapi-python-client":
            return int(hasattr(module, "sync_detailed"))
        found = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
        if self.generator == "openapi-generator":
            return sum(name.endswith("_with_http_info") for one in found for name in vars(one))
        managed = [one for one in found if one.__name__.startswith("Managed")]
        return sum(not name.startswith("_") for one in managed for name in vars(one))

    def read(self, component, text):
        """Return the object that *text* is."""
        kind = self.classes.get(plain(component)) or self.classes[f"{plain(component)}model"]
        if self.generator == "ours":
            decode = importlib.import_module("runtime.connectors.base").decoder
            names, variants = getattr(self.package, "_NAMES", {}), getattr(self.package, "_VARIANTS", {})
            return decode(kind, names, variants)(json.loads(text, parse_float=Decimal))
        if self.generator == "openapi-python-client":
            return kind.from_dict(json.loads(text))
        return kind.from_json(text) if hasattr(kind, "from_json") else kind.model_validate_json(text)

    def value(self, found, name):
        """Return the value of the property *name*."""
        if hasattr(found, "actual_instance"):  # openapi-generator's union
            found = found.actual_instance
        fields = getattr(type(found), "model_fields", {})
        for attribute, one in fields.items():
            if one.alias == name:
                return getattr(found, attribute)
        names = list(fields) or [one.name for one in getattr(found, "__attrs_attrs__", ())]
        names = names or [one.name for one in dataclasses.fields(found)]
        return getattr(found, next(one for one in names if plain(one) in {plain(name), f"field{plain(name)}"}))


def is_right(kind, value, wanted):  # noqa: C901, PLR0911 - one return for each kind
    """Is the value of the Python type that .NET means, with nothing lost?"""
    if kind in {"unknown field", "null"}:
        return kind == "unknown field" or value in (None, [], {})
    if kind == "integer":
        return type(value) is int and value == int(wanted)
    if kind == "number":
        return isinstance(value, Decimal) and str(value) == wanted
    if kind == "date-time":
        return isinstance(value, datetime) and value == datetime(2027, 1, 15, 8, 0, 0, 123456, value.tzinfo)
    if kind == "date-time without offset":
        return isinstance(value, datetime)
    if kind == "date or time":
        return value == (date.fromisoformat(wanted) if "-" in wanted else time.fromisoformat(wanted))
    if kind == "uuid":
        return value == UUID(wanted)
    if kind == "duration":
        return value == timedelta(days=1, hours=2, minutes=3, seconds=4.5)
    if kind == "bytes":
        return value == b"text"
    if kind == "enum name":
        return isinstance(value, Enum) and plain(value.name) == plain(wanted)
    return str(value.value if isinstance(value, Enum) else value) == wanted  # unknown enum value, variant


def main():
    """Print the verdict of each fact: right, wrong or failed."""
    generator, folder = sys.argv[1:]
    facts = json.load(sys.stdin)
    try:
        probe = Probe(generator, folder)
    except Exception as error:  # whatever a generated package raises
        problem = f"{type(error).__name__}: {error}"[:300]
        print(json.dumps({"problem": problem, "operations": 0, "verdicts": ["failed"] * len(facts)}))
        return
    verdicts, reasons = [], []
    for one in facts:
        try:
            found = probe.read(one["component"], one["text"])
            value = None if one["kind"] == "unknown field" else probe.value(found, one["property"])
            verdicts.append("right" if is_right(one["kind"], value, one["wanted"]) else "wrong")
            reasons.append(repr(value)[:80])
        except Exception as error:  # as above
            verdicts.append("failed")
            reasons.append(f"{type(error).__name__}: {error}"[:120])
    broken = f"{len(probe.broken)} modules do not import; the first: {probe.broken[0][:120]}" if probe.broken else ""
    print(json.dumps({"problem": broken, "operations": probe.operations, "verdicts": verdicts, "reasons": reasons}))


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")
    Path(sys.argv[2]).resolve(strict=True)
    main()
