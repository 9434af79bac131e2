"""
The dialects of the platform: the same response as the documentation, .NET and the second generation write it.

`docs` is snake_case, as documented. `dotnet` is camelCase with nulls, other list shapes and other names. `cloud` wraps
responses in an envelope with `success` and reports failures as `success: false` in a 200.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["DIALECTS", "speak"]

DIALECTS = ("docs", "dotnet", "cloud")

# Values under these keys are the user's own, or keyed by the user's own names.
_FREE_FORM = frozenset({"metadata", "results", "metrics", "config"})


def speak(dialect: str, path: str, status: int, document: Any) -> tuple[int, Any]:
    """Return status and document of a response to *path* in *dialect*."""
    if document is None or dialect == "docs":
        return status, document
    if dialect == "dotnet":
        return status, _camel(_dotnet_lists(path, document))
    return _cloud(status, document)


def _camel(value: Any) -> Any:
    if isinstance(value, list):
        return [_camel(entry) for entry in value]
    if not isinstance(value, Mapping):
        return value
    return {_camel_key(key): entry if key in _FREE_FORM else _camel(entry) for key, entry in value.items()}


def _camel_key(key: str) -> str:
    head, *tail = key.split("_")
    return head + "".join(word.capitalize() for word in tail)


def _dotnet_lists(path: str, document: Any) -> Any:
    if not isinstance(document, Mapping) or "total" not in document:
        return document
    entries = document.get("items", document.get("users"))
    if path == "/api/apps":
        return {"correlationId": "", "ownedApps": entries, "memberApps": []}
    if "users" in document:
        return entries  # a bare array
    return {"items": entries, "page": 1, "pageSize": document["limit"], "totalCount": document["total"]}


def _cloud(status: int, document: Any) -> tuple[int, Any]:
    if not isinstance(document, Mapping):
        return status, document
    if status >= 400:  # noqa: PLR2004
        code = document.get("error") or document.get("title") or "error"
        if isinstance(code, Mapping):
            return status, document
        kind = {404: "not_found", 409: "conflict", 400: "validation_error"}.get(status, "unknown")
        error = {"code": str(code), "message": document.get("message", ""), "kind": kind, "retryable": False}
        return 200, {"success": False, "error": error}
    return status, {"success": True, **document}
