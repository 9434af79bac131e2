"""Credentials: which key may be sent, and which headers an attempt carries."""

import pytest
from layer_support import Upstream, a_request

from middleware.errors import ConfigError
from middleware.request.auth import AuthMiddleware, check_api_key


@pytest.mark.parametrize(
    ("given", "sent"),
    [(None, None), ("", None), (" \t", None), ("moz_live_abc", "moz_live_abc"), ("x" * 8192, "x" * 8192)],
)
def test_a_blank_key_is_no_key(given, sent):
    """And any other is sent as it is."""
    assert check_api_key(given) == sent


@pytest.mark.parametrize("key", [" moz", "moz live", "möz", "moz\r\nx-admin: 1", "x" * 8193, 7, b"moz"])
def test_an_unsendable_key_is_named_and_not_shown(key):
    """R52: the setting and what it must be."""
    with pytest.raises(ConfigError) as caught:
        check_api_key(key)
    assert str(caught.value) == "api_key: must be 1 to 8192 visible ASCII characters without blanks"


@pytest.mark.parametrize(
    ("token", "key", "sent"),
    [
        ("t.o.k", "moz_live_abc", {"authorization": "Bearer t.o.k", "x-mozaiks-app-key": "moz_live_abc"}),
        (None, "moz_live_abc", {"x-mozaiks-app-key": "moz_live_abc"}),
        ("t.o.k", None, {"authorization": "Bearer t.o.k"}),
        ("", None, {}),
    ],
)
async def test_an_attempt_carries_what_there_is(token, key, sent):
    """The caller's token and the application's key, each only where it is set; the response passes."""
    request = a_request()
    request.user_jwt = token
    upstream = Upstream(None)
    request.app_key = key
    response = await AuthMiddleware()(request, upstream)
    assert upstream.requests[0].headers == sent
    assert response.status == 200
