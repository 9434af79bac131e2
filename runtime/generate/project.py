"""
Puts generated files into a folder, and keeps what was edited there.

What was generated is kept as it was in `.generated/`, to be committed with the connector: it is the common ancestor
when the files are generated anew. A later version of the generator, or of the document, then changes what it changes,
and edits stay; where both changed the same lines, the file has the markers that git writes.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Conflict", "FileChange", "NotGeneratedError", "changes", "write"]

_ANCESTORS = ".generated"


class NotGeneratedError(Exception):
    """A file is there that was not generated, and it is not overwritten."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: is there already, and was not generated; move it, or choose another folder")
        self.path = path


@dataclass(frozen=True, slots=True)
class Conflict:
    """Lines that were edited and that the generator changed too: first line, from 1, of the markers."""

    path: str
    line: int


@dataclass(frozen=True, slots=True)
class FileChange:
    """
    What happens to one file.

    Attributes:
        path: Relative to the folder.
        old: Its text; None where it is not there.
        new: Its text afterwards.
        generated: The text as it was generated.
        conflicts: Where edits and the generator disagree.
    """

    path: str
    old: str | None
    new: str
    generated: str
    conflicts: tuple[Conflict, ...] = ()

    def diff(self) -> str:
        """Return the change as a unified diff; empty where nothing changes."""
        if self.old == self.new:
            return ""
        before = [] if self.old is None else self.old.splitlines(keepends=True)
        source = "/dev/null" if self.old is None else f"a/{self.path}"
        lines = difflib.unified_diff(before, self.new.splitlines(keepends=True), source, f"b/{self.path}")
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def changes(folder: Path, files: Mapping[str, str]) -> list[FileChange]:
    """
    Return what writing *files* to *folder* changes; nothing is written.

    Raises:
        NotGeneratedError: A file is there that was not generated.
        OSError: A file cannot be read.
    """
    return [_change(folder, path, text) for path, text in files.items()]


def _change(folder: Path, path: str, generated: str) -> FileChange:
    target, kept = folder / path, _ancestor(folder, path)
    if not target.exists():
        return FileChange(path, None, generated, generated)
    current = target.read_text(encoding="utf-8")
    if current == generated:
        return FileChange(path, current, current, generated)
    if not kept.exists():
        raise NotGeneratedError(target)
    ancestor = kept.read_text(encoding="utf-8")
    if current == ancestor:
        return FileChange(path, current, generated, generated)
    merged = _merged(ancestor, current, generated)
    found = [Conflict(path, number) for number, line in enumerate(merged.splitlines(), 1) if line == "<<<<<<< edited"]
    return FileChange(path, current, merged, generated, tuple(found))


def _merged(ancestor: str, edited: str, generated: str) -> str:
    from merge3 import Merge3

    base, ours, theirs = (text.splitlines(keepends=True) for text in (ancestor, edited, generated))
    three = Merge3(base, ours, theirs)
    return "".join(three.merge_lines(name_a="edited", name_b="generated", reprocess=True))


def _ancestor(folder: Path, path: str) -> Path:
    # Not under its own suffix: no tool takes it for a part of the project.
    return folder / _ANCESTORS / f"{path}.base"


def write(folder: Path, found: list[FileChange]) -> Iterator[Path]:
    """
    Write *found*, and yield each file that changed.

    Raises:
        OSError: A file cannot be written.
    """
    for one in found:
        kept = _ancestor(folder, one.path)
        for path, text in ((folder / one.path, one.new), (kept, one.generated)):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8", newline="\n")
                if path != kept:
                    yield path
