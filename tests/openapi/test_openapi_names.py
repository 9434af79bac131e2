"""Names of operations, by Python's conventions."""

import pytest

from runtime.openapi import Document, operation_names, read


def api(**root):
    """The model of a document of one or two parts."""
    return read(Document("test", {"openapi": "3.1.1", "paths": {}, **root}))


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([("GET", "/items", "")], ["list_items"]),
        ([("GET", "/api/v1/items/{id}", "")], ["get_item"]),
        ([("GET", "/items/{id}/pic", "")], ["get_items_pic_by_id"]),
        ([("POST", "/items", ""), ("POST", "/items/{id}", "")], ["create_item", "create_item2"]),
        ([("GET", "/", "")], ["get_root"]),
        ([("GET", "/a", "Account_Get"), ("GET", "/b", "App_SearchUsers")], ["get_account", "search_users"]),
        ([("GET", "/a", "A_FindIt"), ("GET", "/b", "B_FindIt")], ["a_find_it", "b_find_it"]),
        ([("POST", "/a", "AdminLoginEndpoint_V1"), ("POST", "/b", "Import")], ["admin_login_v1", "import_call"]),
        ([("GET", "/a", "same"), ("GET", "/b", "same")], ["same", "same2"]),
        ([("GET", "/a", "2fa"), ("GET", "/b", "…")], ["n2_fa", "get_b"]),
    ],
)
def test_operations_are_named_as_people_would(operations, expected):
    """By their id, else by method and path; never twice, never a keyword."""
    paths = {path: {method.lower(): {"operationId": name} if name else {}} for method, path, name in operations}
    merged = {}
    for (method, path, _), item in zip(operations, [paths[path] for _, path, _ in operations], strict=True):
        merged.setdefault(path, {})[method.lower()] = item[method.lower()]
    assert list(operation_names(api(paths=merged).operations).values()) == expected
