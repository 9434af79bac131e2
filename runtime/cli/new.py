"""
`python3 -m runtime new`: a connector as a package of its own, from an OpenAPI document or from a few flags.

Run again with a changed document, it changes what it wrote, and keeps what was edited since.
"""

import argparse
import keyword
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from middleware.redaction import printable
from runtime._internal.installation import project_directory
from runtime.generate import FileChange, NotGeneratedError, Options, Plan, changes, connector_files, make_plan, write
from runtime.generate.template import FIELD_TYPES, template
from runtime.openapi import Document, DocumentError, load, plain, read

__all__ = ["main", "make_parser"]

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_DEFAULT_FIELDS = ("name:str", "status:str", "created_at:datetime")


def main(argv: Sequence[str]) -> int:
    """Write a connector; 0, 1 where edits and changes are in conflict or nothing can be written, 2 for wrong usage."""
    parser = make_parser()
    options = parser.parse_args(argv)
    name = options.name
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        parser.error(f"argument NAME: must be words in lower case joined by single underscores, got {name!r}")
    folder = options.output or Path(f"{name}_connector")
    try:
        document = load(options.source) if options.source else _template(options, interactive=sys.stdin.isatty())
        plan = make_plan(
            read(document),
            Options(name, tuple(options.tag), tuple(options.path), tuple(options.floats)),
        )
    except (DocumentError, ValueError) as error:
        parser.error(printable(str(error)))
    if not plan.methods:
        parser.error(printable(_nothing(plan)))
    try:
        found = changes(folder, connector_files(plan))
        if options.dry_run:
            sys.stdout.write("".join(one.diff() for one in found))
        else:
            for path in write(folder, found):
                sys.stdout.write(f"wrote {path}\n")
    except NotGeneratedError as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        return 1
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"{printable(f'{folder}: {error}')}\n")
        return 1
    sys.stdout.flush()  # before the summary, also where both go to one file
    sys.stderr.write(_summary(plan, found, folder, dry_run=options.dry_run))
    return 1 if any(one.conflicts for one in found) else 0


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the arguments."""
    parser = argparse.ArgumentParser(prog="python3 -m runtime new", description=__doc__)
    parser.add_argument("name", metavar="NAME", help="name of the connector, such as orders")
    parser.add_argument("--from", dest="source", metavar="DOCUMENT", help="file or URL of an OpenAPI document")
    parser.add_argument("--tag", action="append", default=[], help="operations with this tag alone; repeatable")
    parser.add_argument(
        "--path", action="append", default=[], help="operations below this path alone; the list's path without --from"
    )
    parser.add_argument(
        "--float",
        dest="floats",
        action="append",
        default=[],
        metavar="NAME",
        help="read the property NAME, or Model.name, as float instead of Decimal; repeatable",
    )
    parser.add_argument("--item", metavar="MODEL", help="without --from: name of the model, such as Invoice")
    parser.add_argument(
        "--field",
        action="append",
        metavar="NAME:TYPE",
        help=f"without --from: a field of the model; types: {', '.join(FIELD_TYPES)}; repeatable",
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where to write; default NAME_connector")
    parser.add_argument("--dry-run", action="store_true", help="print what would change as a diff, and write nothing")
    return parser


def _template(options: argparse.Namespace, *, interactive: bool) -> Document:
    """Return the template's document by the flags; where there are none, ask a person."""
    item, fields, path = options.item, options.field, (options.path or [None])[0]
    title = "".join(part.capitalize() for part in options.name.split("_")).removesuffix("s")
    if interactive and item is None and fields is None:
        item = _ask(f"Model [{title}]: ")
        fields = _ask(f"Fields, NAME:TYPE [{' '.join(_DEFAULT_FIELDS)}]: ").split() or None
        path = path or _ask(f"Path of the list [/api/{options.name}]: ")
    path = path or f"/api/{options.name}"
    options.path = []
    return template(options.name, item or title, fields or _DEFAULT_FIELDS, path)


def _ask(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def _nothing(plan: Plan) -> str:
    chosen = [*plan.options.tags, *plan.options.paths]
    tags = sorted({tag for one in plan.api.operations for tag in one.tags})
    if plan.left_out:
        return f"no operation can be expressed; the first: {plan.left_out[0].what}: {plan.left_out[0].why}"
    if chosen:
        return f"no operation has {' or '.join(chosen)}; the document's tags are {', '.join(tags) or 'none'}"
    return "the document has no operations"


def _summary(plan: Plan, found: Sequence[FileChange], folder: Path, *, dry_run: bool) -> str:
    lines = [f"{len(plan.methods)} operations, {len(plan.models)} models, {len(plan.enums)} enums"]
    lines += [plain(f"not as in the document: {one.what}: {one.why} ({one.place})") for one in plan.left_out]
    if plan.notes:
        lines.append(f"{len(plan.notes)} formal errors of the document; GENERATED.md lists them")
    conflicts = [conflict for one in found for conflict in one.conflicts]
    lines += [
        f"conflict: {folder / one.path}:{one.line}: edited, and changed in what is generated" for one in conflicts
    ]
    if not dry_run and not conflicts and any(one.old is None for one in found):
        # In a checkout the runtime is not installed, and no index has it.
        installed = f"pip install -e {folder} && python3 -m pytest {folder}"
        lines.append(f"next: {installed if project_directory() is None else f'python3 -m runtime test {folder}'}")
    return "".join(f"{printable(line)}\n" for line in lines)
