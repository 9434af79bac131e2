"""Requests by a document: which are wrong, and what is said of them."""

import json

import pytest
from documented_support import JSON, SHOP, TENANT, respond, service_of

from runtime.gateway import Gateway
from runtime.gateway.checking import Checker
from runtime.openapi import Document, read


@pytest.fixture(scope="module")
def shop():
    """The service of a document with one of everything."""
    return Gateway(api=read(Document("shop", SHOP)))


@pytest.mark.parametrize(
    ("target", "wrong"),
    [
        ("/v1/orders?PAGE=2&state=open&state=paid&ids=1,2&since=2027-01-15T08:00:00&open=True", set()),
        ("/v1/orders/?page=2", set()),
        ("/v1/orders", {"page"}),
        ("/v1/orders?page=", {"page"}),
        ("/v1/orders?page=0", {"page"}),
        ("/v1/orders?page=1.5&open=yes", {"page", "open"}),
        ("/v1/orders?page=1&state=open&state=Later", {"state[1]"}),
        ("/v1/orders?page=1&ids=1,x&since=15.01.2027", {"ids[1]", "since"}),
    ],
)
def test_parameters_are_checked(shop, target, wrong):
    """Names are read without case; each value has its type, and those that are required are there."""
    response = respond(shop, "GET", target, TENANT)
    assert response.status == (400 if wrong else 200)
    assert set(response.document["errors"] if wrong else ()) == wrong


def test_headers_are_checked(shop):
    """One that is absent, and one of another format."""
    for headers in ({}, {"x-tenant": "acme"}):
        assert set(respond(shop, "GET", "/v1/orders?page=1", headers).document["errors"]) == {"X-Tenant"}


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"total": 1.25, "unknown": 1, "note": None, "count": 1.0}, set()),
        ({"TOTAL": "1.25", "lasts": "1.02:03:04.5", "blob": "dGV4dA==", "code": "EUR"}, set()),
        ({"total": 1, "lines": [{"sku": "a"}, {"sku": "b", "of": {"total": 2}}]}, set()),
        ({"total": 1, "pay": {"kind": "card", "last4": "1234"}}, set()),
        ({}, {"$.total"}),
        ({"total": "much", "count": "1", "blob": "%"}, {"$.total", "$.count", "$.blob"}),
        ({"total": 0, "count": 2**31, "note": "long"}, {"$.total", "$.count", "$.note"}),
        ({"total": 0.015, "lasts": "an hour", "code": "eur"}, {"$.total", "$.lasts", "$.code"}),
        ({"total": None, "count": True, "parent": []}, {"$.total", "$.count", "$.parent"}),
        ({"total": 1, "lines": [{"sku": "a"}]}, {"$.lines"}),
        ({"total": 1, "lines": [{"sku": "a"}, {"of": {}}]}, {"$.lines[1].sku", "$.lines[1].of.total"}),
        ({"total": 1, "pay": {"kind": "card", "last4": "1"}}, {"$.pay.last4"}),
        ({"total": 1, "pay": {"kind": "cash"}}, {"$.pay"}),
        ([], {"$"}),
        (b"{", {"$"}),
        (b'{"total": NaN}', {"$"}),
        (b'{"total": 1e99999999999999999999}', {"$"}),
        (b"[" * 100_000, {"$"}),
        (b"", {"$"}),
    ],
)
def test_bodies_are_checked(shop, body, wrong):
    """By the document's types, without those of its habits that ASP.NET Core does not mean."""
    response = respond(shop, "POST", "/v1/orders", JSON, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert response.status == (400 if wrong else 201)
    assert set(response.document["errors"] if wrong else ()) == wrong
    assert response.changed is not bool(wrong)


def test_unions_in_unions_are_checked_once_each(monkeypatch):
    """Two variants that have the union in them: what is wrong 24 levels below is not looked for 2 ** 24 times."""
    ref = {"$ref": "#/components/schemas/It"}
    variants = [{"type": "object", "required": ["of"], "properties": {"of": ref, name: {}}} for name in "ab"]
    counts, problems = [], Checker.problems

    def counted(*arguments, **options):
        counts.append(1)
        assert len(counts) < 1000
        return problems(*arguments, **options)

    monkeypatch.setattr(Checker, "problems", counted)
    body = b'{"of":' * 24 + b"1" + b"}" * 24
    response = respond(service_of({"anyOf": variants}), "POST", "/it", JSON, body)
    assert response.status == 400
    assert list(response.document["errors"]) == ["$"]


def test_a_body_without_end_is_an_error(shop):
    """ASP.NET Core's bound on levels; no recursion error."""
    body = b'{"total": 1, "parent": ' * 200 + b"null" + b"}" * 200
    assert respond(shop, "POST", "/v1/orders", JSON, body).status == 400
