"""Names by Python's conventions: of operations, classes and attributes, without collisions and keywords."""

import builtins
import keyword
import re
import unicodedata
from collections.abc import Iterable, Sequence

from .model import Operation

__all__ = ["attribute_name", "class_name", "operation_names", "snake", "unique"]

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
"""A placeholder of a path, and its name."""

# A number belongs to the word in front of it: `Int32`, `oAuth2`.
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+[0-9]*|[A-Z]+[0-9]*|[0-9]+")
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "change", "DELETE": "delete", "QUERY": "query"}
_VERSION = re.compile(r"v\d+")


def _words(text: str) -> list[str]:
    return [word.lower() for part in re.split(r"[^A-Za-z0-9]+", _plain(text)) for word in _WORD.findall(part)]


def _plain(text: str) -> str:
    """Return *text* with its letters without their marks."""
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))


def snake(text: str) -> str:
    """Return *text* in snake case: `pageSize` and `Page-Size` are `page_size`; empty without a letter or digit."""
    return "_".join(_words(text))


def class_name(text: str) -> str:
    """Return *text* as the name of a class."""
    found = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", _plain(text)))
    if not found or found[0].isdigit():
        found = f"Model{found}"
    return f"{found}Model" if keyword.iskeyword(found) or hasattr(builtins, found) else found


def attribute_name(text: str) -> str:
    """Return *text* as the name of an attribute of a model: snake case, with an underscore after a keyword."""
    found = snake(text) or "value"
    if found[0].isdigit():
        found = f"n{found}"
    return f"{found}_" if keyword.iskeyword(found) else found


def unique(wanted: str, taken: Iterable[str]) -> str:
    """Return *wanted*, with a number after it where it is in *taken*."""
    known, number, found = set(taken), 2, wanted
    while found in known:
        found, number = f"{wanted}{number}" if wanted[-1:].isalpha() else f"{wanted}_{number}", number + 1
    return found


def operation_names(operations: Sequence[Operation], reserved: Iterable[str] = ()) -> dict[str, str]:
    """
    Return the name of the connector's method for each operation, by its key.

    It is the operation's id; NSwag's `Account_Delete` is `delete_account`, its `Account_SearchUsers` is `search_users`
    where that is unambiguous, and FastEndpoints' `Endpoint` at the end is left out. Without an id it is made of method
    and path: `GET /items/{id}` is `get_item`, and `GET /items` is `list_items`.

    Args:
        operations: All operations of the document, so that a name does not depend on which ones are chosen.
        reserved: Names that are in use.
    """
    short = [_from_id(one.id, short=True) for one in operations]
    found: dict[str, str] = {}
    taken = set(reserved)
    for one, name in zip(operations, short, strict=True):
        wanted = name if name and short.count(name) == 1 else _from_id(one.id, short=False)
        # What begins with an underscore is private, and settings separate their parts by two.
        wanted = attribute_name(wanted or _from_path(one))
        chosen = unique(f"{wanted}call" if wanted.endswith("_") else wanted, taken)
        taken.add(chosen)
        found[one.key] = chosen
    return found


def _from_id(name: str, *, short: bool) -> str:
    cleaned = re.sub(r"(?i)endpoint(?=\d*(_v\d+)?$)", "", name) or name
    controller, _, action = cleaned.rpartition("_")
    is_controller = controller[:1].isupper() and action[:1].isupper()  # NSwag's `Account_Get`, and no `get_account`
    if not is_controller or _VERSION.fullmatch(action.lower()):
        return snake(cleaned)
    if "_" not in snake(action):
        return f"{snake(action)}_{snake(controller)}"
    return snake(action if short else cleaned)


def _from_path(operation: Operation) -> str:
    parts = [part for part in operation.path.split("/") if part]
    parts = [part for part in parts if part.lower() != "api" and not _VERSION.fullmatch(part.lower())] or parts
    fixed = [snake(PLACEHOLDER.sub("", part)) for part in parts]
    ends_in_value = bool(parts) and bool(PLACEHOLDER.search(parts[-1]))
    named = [one for one in fixed if one]
    verb = _VERBS.get(operation.method, operation.method.lower())
    if operation.method == "GET" and not ends_in_value and named and named[-1].endswith("s"):
        verb = "list"
    elif (named and ends_in_value) or (named and operation.method == "POST"):
        named[-1] = singular(named[-1])
    by = [snake(name) for part in parts[:-1] for name in PLACEHOLDER.findall(part)] if len(named) > 1 else []
    suffix = f"_by_{by[-1]}" if by and operation.method == "GET" else ""
    return "_".join([verb, *named]) + suffix if named else f"{verb}_root"


def singular(text: str) -> str:
    """Return a plural in snake case as a singular, by the common endings alone."""
    if text.endswith("ies") and len(text) > len("ies") + 1:
        return f"{text[:-3]}y"
    if text.endswith(("sses", "shes", "ches", "xes")):
        return text[:-2]
    return text[:-1] if text.endswith("s") and not text.endswith(("ss", "us", "is")) else text
