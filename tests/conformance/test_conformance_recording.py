"""Recorded responses: nothing of their content is written, their shapes are, and they are replayed."""

import json

import httpx
import pytest
from acme_orders import ORDERS

from middleware import ConfigError, NotFoundError, ServerError
from runtime.conformance import Conformance
from runtime.conformance.recording import Masker, recorded, recording
from runtime.conformance.suite import suite_of
from runtime.testing import ScriptedUpstream

JWT = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0LXVzZXI.c2lnbmF0dXJl"
KEY = "moz_live_0123456789abcdefghijklmnopqrstuv"
ECHO = {
    "id": "3f2b1c9e-ada", "name": "Ada Lovelace", "status": "paid", "email": "ada@example.com", "total": 1999,
    "card": 4242424242424242, "apiKey": KEY, "pin": 1234, "note": f"Bearer {JWT}", "createdAt": "2026-01-02T03:04:05.6789Z",
    "lines": [{"sku": "A-1", "id": "3f2b1c9e-ada"}, {"sku": "B-2", "paid": True, "type": "gift card"}], "extra": None,
    "3f2b1c9e8d7a": {JWT: 1, KEY: [KEY]}, "type": "sk_live_abcdefgh",
}  # fmt: skip
SHAPE = {
    "id": "xxxxxxxx-xxx", "name": "xxx xxxxxxxx", "status": "paid", "email": "xxx@xxxxxxx.xxx", "total": 1999,
    "card": 1000000, "pin": 0, "createdAt": "2026-01-02T03:04:05.6789Z", "extra": None,
}  # fmt: skip


def respond(request):
    """A platform that repeats credentials, in a body, in an error page and in headers."""
    if request.url.path.endswith("missing"):
        return httpx.Response(404, json={"error": "NotFound", "message": f"{JWT} has no such order"})
    if request.url.path.endswith("broken"):
        page = f"<html><h1>502 Bad Gateway</h1>{KEY} {JWT}</html>"
        return httpx.Response(502, text=page, headers={"content-type": "text/html", "set-cookie": KEY, "x-token": JWT})
    return httpx.Response(200, json=ECHO, headers={"location": f"/orders/{JWT}"})


@pytest.fixture
async def file(tmp_path):
    """What is written of three responses."""
    path = tmp_path / "orders.json"
    transport = httpx.MockTransport(respond)
    async with recording(ORDERS, "https://gateway.example", KEY, file=path, transport=transport) as orders:
        assert (await orders.get_order("3f2b1c9e-ada", user_jwt=JWT)).name == "Ada Lovelace"  # the caller's is whole
        with pytest.raises(NotFoundError):
            await orders.get_order("missing", user_jwt=JWT)
        with pytest.raises(ServerError):
            await orders.get_order("broken", user_jwt=JWT)
    return path


async def test_no_secret_and_no_persons_data_is_written(file):
    """Neither as a value, nor as a key, in a header or in a page that is no JSON."""
    text = file.read_text()
    for secret in (
        JWT,
        KEY,
        *JWT.split("."),
        "ada",
        "Ada",
        "4242",
        "1234",
        "Bearer",
        "abcdefgh",
        "3f2b1c9e",
        "gateway.example",
    ):
        assert secret not in text, secret


async def test_the_shapes_are_kept(file):
    """Types, lengths, punctuation, times and words of a vocabulary; equal texts stay equal."""
    first, second, third = json.loads(file.read_text())["responses"][:3]
    assert {name: first["json"][name] for name in SHAPE} == SHAPE
    assert first["json"]["lines"][0]["id"] == first["json"]["id"]
    assert first["json"]["lines"][0]["sku"] != first["json"]["lines"][1]["sku"]
    assert first["json"]["lines"][1]["type"] == "gift card"
    assert len(first["json"]) == len(ECHO)
    assert second["status"] == 404
    assert second["json"]["error"] == "NotFound"
    assert third["status"] == 502
    assert third["text"].startswith("<html><h1>000 xxx xxxxxxx</h1>xxx_xxxx_")
    assert set(third["headers"]) == {"content-type"}


async def test_they_are_replayed(file):
    """By a scripted platform, and by the conformance tests of the connector."""
    exchanges = recorded(file)
    assert [(one.operation, one.reply.status) for one in exchanges][:2] == [("get_order", 200), ("get_order", 404)]
    upstream = ScriptedUpstream([exchanges[0].reply])
    assert (await ORDERS.managed(upstream.client()).get_order("x")).status == "paid"


def test_what_a_connector_does_not_read_is_found(tmp_path):
    """A recorded shape that no longer becomes a result, or an error that became another one."""
    path = tmp_path / "orders.json"
    entry = {"operation": "get_order", "status": 200, "headers": {}, "json": {"id": "x", "name": "y"}}
    path.write_text(json.dumps({"responses": [entry, {**entry, "status": 404}]}))
    suite = suite_of(Conformance(ORDERS, recorded=path))()
    suite.test_recorded_responses_are_read()
    path.write_text(json.dumps({"responses": [{**entry, "json": {"order": {}}}]}))
    with pytest.raises(AssertionError, match=r"get_order \(200\)"):
        suite.test_recorded_responses_are_read()


@pytest.mark.parametrize("text", [None, "", "[]", '{"responses": [{}]}', '{"responses": 7}'])
def test_a_file_that_is_no_recording_is_an_error(tmp_path, text):
    """It names the file."""
    path = tmp_path / "orders.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"orders\.json: cannot be read"):
        recorded(path)


def test_masks_tell_texts_apart():
    """However short, and the same in each place."""
    masker = Masker()
    masks = [masker.mask(text) for text in ("a", "b", "c", "ab", "cd", "ü", "a")]
    assert len(set(masks)) == 6
    assert masks[0] == masks[-1] == "x"
    assert masker.mask("") == ""
