"""
Tables of docs/observability.md, made from the code's own names: prints them, or puts them into the document.

    python3 .ci/tools/observability_tables.py            # print
    python3 .ci/tools/observability_tables.py --write    # put them between their markers in the document
"""

import ast
import logging
import sys
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "observability.md"
WHERE = {
    "CallRecordingMiddleware": "call",
    "_call_finished": "call",
    "attempt_span": "attempt",
    "_attempt_finished": "attempt",
}


def tree(name):
    """Syntax tree of a module of the middleware."""
    return ast.parse((ROOT / "middleware" / f"{name}.py").read_text())


def documented():
    """Constant of semconv.py -> (its text, what the docstring below it says)."""
    body, found = tree("telemetry/semconv").body, {}
    for node, following in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant):
            said = following.value.value if isinstance(following, ast.Expr) else ""
            found[node.target.id] = (node.value.value, " ".join(said.split()))
    return found


def used(node):
    """Constants of semconv.py that *node* names, in order."""
    names = [
        (child.lineno, child.col_offset, child.attr)
        for child in ast.walk(node)
        if isinstance(child, ast.Attribute) and isinstance(child.value, ast.Name) and child.value.id == "semconv"
    ]
    return list(dict.fromkeys(name for _, _, name in sorted(names) if name.isupper()))


def table(head, rows):
    """A table in Markdown."""
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def attributes(names):
    """Attributes of the spans, and which of the two has them."""
    places = {}
    for node in tree("telemetry/recording").body + tree("telemetry/tracing").body:
        for name in used(node) if getattr(node, "name", "") in WHERE else ():
            places.setdefault(name, []).append(WHERE[node.name])
    places.setdefault("SERVER_ADDRESS", []).append("attempt")  # both by semconv.server_attributes
    places.setdefault("SERVER_PORT", []).append("attempt")
    rows = [
        (f"`{names[name][0]}`", " and ".join(dict.fromkeys(places[name])), names[name][1])
        for name in names
        if name in places
    ]
    return table(("attribute", "span", "meaning"), rows)


def events(names):
    """Events of the spans, with their attributes."""
    found = {}
    for node in tree("telemetry/tracing").body:
        mine = used(node) if isinstance(node, ast.FunctionDef) else []
        for name in mine:
            if name.startswith("EVENT_"):
                found[name] = [f"`{names[one][0]}`" for one in mine if not one.startswith("EVENT_")]
    rows = [
        (f"`{names[name][0]}`", names[name][1], ", ".join(found[name])) for name in names if name.startswith("EVENT_")
    ]
    told = {one for listed in found.values() for one in listed}
    meanings = [
        (f"`{text}`", said)
        for name, (text, said) in names.items()
        if f"`{text}`" in told and not name.startswith(("EVENT_", "LOG_"))
    ]
    return (
        table(("event", "what happened", "attributes"), rows) + "\n\n" + table(("its attribute", "meaning"), meanings)
    )


def metrics(names):
    """Instruments, as they are made."""
    sys.path.insert(0, str(ROOT))
    from middleware.telemetry import semconv

    found = [metric for metric in vars(semconv).values() if isinstance(metric, semconv.Metric)]
    rows = [
        (f"`{m.name}`", m.kind, f"`{m.unit}`", m.doc, ", ".join(f"`{name}`" for name in m.attributes)) for m in found
    ]
    carried = {f"`{name}`" for metric in found for name in metric.attributes}
    meanings = [(f"`{text}`", said) for text, said in names.values() if f"`{text}`" in carried]
    head = "metric", "kind", "unit", "meaning", "attributes"
    return table(head, rows) + "\n\n" + table(("its attribute", "meaning"), meanings)


def logs(names):
    """Log lines, their levels and fields; a line of two kinds has the levels of both."""
    sys.path.insert(0, str(ROOT))
    from middleware.telemetry import logs as lines

    functions = {node.name: node for node in tree("telemetry/logs").body if isinstance(node, ast.FunctionDef)}
    levels, fields = {}, {}
    for kind in vars(lines).values():
        if not isinstance(kind, lines._Kind):
            continue
        levels.setdefault(kind.name, []).append(logging.getLevelName(kind.level))
        fields[kind.name] = [
            key.value
            for child in ast.walk(functions[kind.fields.__name__])
            if isinstance(child, ast.Dict)
            for key in child.keys
        ]
    rows = [
        (f"`{text}`", " or ".join(levels[text]), said, ", ".join(f"`{field}`" for field in fields[text]))
        for name, (text, said) in names.items()
        if name.startswith("LOG_")
    ]
    return table(("line", "level", "meaning", "fields of its own"), rows)


def tables():
    """Every table by the name of its markers."""
    names = documented()
    return {"attributes": attributes(names), "events": events(names), "metrics": metrics(names), "logs": logs(names)}


def filled(text):
    """The document with every table as it is now."""
    for name, made in tables().items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, rest = text.split(start)
        text = before + start + "\n" + made + "\n" + end + rest.split(end)[1]
    return text


if __name__ == "__main__":
    if "--write" in sys.argv:
        DOCUMENT.write_text(filled(DOCUMENT.read_text()))
    else:
        for name, made in tables().items():
            sys.stdout.write(f"## {name}\n\n{made}\n\n")
