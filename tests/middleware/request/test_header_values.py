"""Which values a header may carry."""

import pytest

from middleware.request.header_values import MAX_TOKEN, is_token


@pytest.mark.parametrize("value", ["a", "!", "~", "a~", "a" * MAX_TOKEN])
def test_visible_ascii_is_a_token(value):
    """Up to the longest."""
    assert is_token(value) is True


@pytest.mark.parametrize("value", ["", "a" * (MAX_TOKEN + 1), "a b", "a\n", "a\x7f", "ä", None, 7, b"a", ["a"]])
def test_whatever_else_is_none(value):
    """Nor a part of it."""
    assert is_token(value) is False


def test_the_longest_token_has_eight_kibibytes():
    """What common servers take as one header."""
    assert MAX_TOKEN == 8 * 1024
