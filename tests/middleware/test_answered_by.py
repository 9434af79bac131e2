"""Who sent an error response: the pages are those of the gateways as they were recorded."""

import json

import pytest

from middleware.answered_by import answered_by, gateway_name

ID = "5f0c6ad6-3f9e-4d5b-9a57-0c1e3f6f0c11"
NGINX = (
    b"<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n"
    b"<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
)
SPRING = {
    "timestamp": "2026-05-04T08:00:00.000+00:00",
    "path": "/api/users/u-1",
    "status": 404,
    "error": "Not Found",
    "requestId": "1f2e3d4c-1",
}
PROBLEM = json.dumps({"type": "about:blank", "title": "Not Found", "status": 404}).encode()


@pytest.mark.parametrize(
    ("status", "headers", "body", "who"),
    [
        # gateways
        (404, {"server": "nginx/1.22.1", "content-type": "text/html"}, NGINX, "gateway"),
        (404, {"server": "nginx/1.22.1", "content-type": "Text/HTML; charset=utf-8"}, b"", "gateway"),
        (404, {}, NGINX, "gateway"),
        (503, {}, b"\n <HTML><body>503", "gateway"),
        (404, {}, b"  <!DOCTYPE html><title>no</title>", "gateway"),
        (404, {"x-correlation-id": ID, "content-type": "text/html"}, NGINX, "gateway"),
        (404, {"content-type": "text/plain; charset=utf-8"}, b"404 page not found\n", "gateway"),
        (404, {"content-type": "text/plain"}, b"", "gateway"),
        (502, {}, b"Bad Gateway", "gateway"),
        (503, {"server": "envoy", "content-type": "text/plain"}, b"upstream connect error", "gateway"),
        (502, {"server": "Caddy"}, b"", "gateway"),
        (503, {"via": "1.1 varnish (Varnish/7.1)"}, b"", "gateway"),
        *((status, {"server": "Caddy"}, b" ", "gateway") for status in (413, 431, 504)),
        (404, {"x-correlation-id": "another"}, b"not found", "gateway"),
        # the platform
        (404, {"content-type": "application/problem+json"}, b"", "platform"),
        (404, {"content-type": "Application/Problem+JSON"}, PROBLEM, "platform"),
        (404, {"server": "nginx", "via": "1.1 varnish", "content-type": "application/json"}, PROBLEM, "platform"),
        (404, {"x-correlation-id": ID.upper()}, b"", "platform"),
        (404, {"x-correlation-id": f"gateway-7, {ID}", "content-type": "text/plain"}, b"no such user", "platform"),
        *(
            (404, {}, json.dumps({key: "x"}).encode(), "platform")
            for key in ("type", "title", "status", "detail", "errors", "error", "errorCode", "error_code", "code")
        ),
        *((404, {}, json.dumps({key: False}).encode(), "platform") for key in ("success", "ok")),
        (404, {"x-correlation-id": ID}, json.dumps(SPRING).encode(), "platform"),
        *((404, {}, json.dumps({**SPRING, key: "x"}).encode(), "unknown") for key in ("message", "trace")),
        (404, {}, json.dumps({name: SPRING[name] for name in SPRING if name != "requestId"}).encode(), "unknown"),
        *(
            (404, {}, json.dumps({name: SPRING[name] for name in SPRING if name != key}).encode(), "platform")
            for key in ("timestamp", "path", "status", "error")
        ),
        # no evidence
        (404, {}, b"", "unknown"),
        (404, {"server": "nginx"}, b"", "unknown"),
        (502, {}, b"", "unknown"),
        (502, {"server": "Kestrel"}, b"", "unknown"),
        (404, {"x-correlation-id": ""}, b"", "unknown"),
        (404, {"server": "kong"}, b'{"message": "no Route matched with those values"}', "unknown"),
        (404, {}, b'{"error_msg": "404 Route Not Found"}', "unknown"),
        (404, {"content-type": "application/json"}, json.dumps(SPRING).encode(), "unknown"),
        (404, {}, b'"not found"', "unknown"),
        (404, {}, b"[]", "unknown"),
        (404, {"content-type": "application/json"}, b'{"error": "cut o', "unknown"),
        (404, {"content-type": "application/json"}, b'{"error": "' + b"x" * 65_536 + b'"}', "unknown"),
        (404, {}, b"[" * 60_000, "gateway"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_the_response_shows_who_sent_it(status, headers, body, who):
    """R13, R55: by its form and the id of the request; `Server` and `Via` alone only where a gateway has no body to send."""
    assert answered_by(status, headers, body, ID) == who


def test_an_empty_id_is_no_evidence():
    """R13, R55: some gateways add the header without a value."""
    assert answered_by(404, {"x-correlation-id": ""}, b"", "") == "unknown"


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"server": "nginx/1.22.1"}, "nginx"),
        ({"server": "Apache/2.4.71 (Debian)"}, "Apache"),
        ({"server": "Kestrel", "via": "1.1 Caddy"}, "Caddy"),
        ({"server": "Microsoft-IIS/10.0"}, ""),
        ({"server": "uvicorn"}, ""),
        ({"via": "1.1 varnish (Varnish/7.1)"}, "varnish"),
        ({"via": "HTTP/1.1 proxy-7"}, "proxy-7"),
        ({"via": "soon"}, ""),
        ({"server": "<script>"}, ""),
        ({"server": " " + "a" * 40}, "a" * 30),
        ({}, ""),
    ],
    ids=str,
)
def test_the_name_of_the_gateway_is_a_word_of_its_headers(headers, name):
    """R52: bounded, and nothing but letters, digits and dashes."""
    assert gateway_name(headers) == name
