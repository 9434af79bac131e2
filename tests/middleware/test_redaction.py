"""What may be shown of a request's target and of foreign text."""

import pytest

from middleware.redaction import redact, redact_target


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/api/users/u-1", "/api/users/u-1"),
        ("/api/users/user_2?limit=10&q=ada", "/api/users/user_2?limit=REDACTED&q=REDACTED"),
        ("/x?flag&a=b=c", "/x?flag=REDACTED&a=REDACTED"),
        ("/api/users/ada%40example.com/roles", "/api/users/REDACTED/roles"),
        ("/api/users/ada@example.com", "/api/users/REDACTED"),
        ("/x/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln/y", "/x/REDACTED/y"),
        ("/x/moz_live_0123456789abcdef", "/x/REDACTED"),
        ("/x/sk_c2p_live_0123456789", "/x/REDACTED"),
        ("/x/mps_0123456789", "/x/REDACTED"),
        ("/x/token%3Dabc", "/x/REDACTED"),
        ("/x/password:hunter2", "/x/REDACTED"),
        ("/x/bearer%20abc", "/x/REDACTED"),
        ("/caf%C3%A9/%2F", "/caf%C3%A9/%2F"),
    ],
)
def test_a_target_keeps_its_shape_and_loses_its_secrets(target, shown):
    """Keys and ordinary ids stay, query values and telling segments go."""
    assert redact_target(target) == shown


def test_a_secret_that_is_cut_leaves_no_half():
    """Masking comes before cutting."""
    text = redact("x" * 290 + " eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln")
    assert "eyJ" not in text
