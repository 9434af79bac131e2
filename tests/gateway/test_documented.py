"""The gateway as the service of a document: its routes, and what it responds with."""

import base64

import pytest
from documented_support import SHOP, TENANT, respond

from runtime.gateway import DEFAULT_API_KEY, Gateway
from runtime.openapi import Document, read


@pytest.fixture(scope="module")
def shop():
    """The service of a document with one of everything."""
    return Gateway(api=read(Document("shop", SHOP)))


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/orders", {}, 404),
        ("GET", "/v1/orders/7/8", {}, 404),
        ("GET", "/V1/Orders/7", {}, 200),
        ("GET", "/v1/orders/seven", {}, 400),
        ("GET", "/v1/orders/9999999999", {}, 400),
        ("GET", "/v1/orders/latest", {}, 200),
        ("HEAD", "/v1/orders/latest", {}, 200),
        ("DELETE", "/v1/orders", {}, 405),
        ("PUT", "/v1/orders/7/part9", {"content-type": "multipart/form-data; boundary=x"}, 200),
        ("PUT", "/v1/orders/7/part9", {"content-type": "application/json"}, 415),
        ("PUT", "/v1/orders/7/part", {}, 404),
        ("POST", "/v1/orders", {"content-type": "application/json"}, 401),
        ("POST", "/v1/orders", {"content-type": "application/json", "x-mozaiks-app-key": "wrong"}, 401),
        ("POST", "/v1/orders", {"content-type": "text/plain", "x-mozaiks-app-key": DEFAULT_API_KEY}, 415),
    ],
)
def test_routes_methods_and_types(shop, method, target, headers, status):
    """Fixed segments before others, no difference of case; every error is a ProblemDetails."""
    response = respond(shop, method, target, headers, b"{}" if method in {"POST", "PUT"} else b"")
    assert response.status == status
    if status >= 400:
        assert response.document["status"] == status
        assert response.content_type == "application/problem+json"
    assert response.headers.get("allow") == ("GET, POST" if status == 405 else None)


def test_responses_are_examples_or_made(shop):
    """The client's media type, JSON first; what the client alone sends is left out, and so is an example of a wrong type."""
    (order,) = respond(shop, "GET", "/v1/orders?page=1", TENANT).document
    parent, lines = order.pop("parent", None), order.pop("lines")
    assert parent is None
    assert lines == [{"sku": "text"}] * 2
    assert base64.b64decode(order.pop("blob"))
    assert order == {
        "key": "text", "total": 1.5, "count": 1, "code": "EUR", "note": "tex", "lasts": "PT1H",
        "pay": {"kind": "card", "last4": "text"},
    }  # fmt: skip
    one = respond(shop, "GET", "/v1/orders/7", {"accept": "application/json"})
    assert one.content_type == "application/problem+json; charset=utf-8"
    assert "id" not in one.document  # the example is no order: its total is absent
    latest = respond(shop, "GET", "/v1/orders/latest", {"accept": "text/*"})
    assert latest.content_type == "text/csv"
    assert latest.body() == b"a,b"
