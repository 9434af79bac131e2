"""What foreign text and a request's target pass through before they may stand in an error, span or log."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

__all__ = ["query_values", "redact", "redact_target"]

_MASK = "***"
_SHORTEST_VALUE = 6

# Shapes of the platform's secrets: JSON Web Tokens, bearer values, app keys (moz_live_…), service keys
# (sk_c2p_live_…), payment secrets (mps_…), credentials in URLs, whole headers of credentials and cookies, and anything
# assigned to a telling name.
_SECRETS = re.compile(
    r"""
      eyJ[\w-]{5,}(?:\.[\w-]*){1,2}
    | (?i:bearer)\s+[^\s"',;]+
    | \b(?:moz_(?:live|test)|sk_[a-z0-9]+(?:_live|_test)?|mps|mpc)_[\w-]{6,}
    | (?i:\bbasic)\s+(?=[^\s]*[0-9=])[\w+/-]{6,}={0,2}
    | (?<=://)[^/\s@]+(?=@)
    | (?i:(?<![a-z])(?:(?:proxy-)?authorization|(?:set-)?cookie)["']?\s*[:=]\s*["']?)(?!\s)[^"'}]+
    | (?:(?i:(?<![a-z])(?:api[-_]?key|app[-_]?key|token|secret|password|passwd))
        | (?<=[a-z0-9])(?:ApiKey|AppKey|Token|Secret|Password))["']?\s*[:=]\s*["']?(?!\s)[^\s"'&;,}]+
    | [\w.+-]+@[\w-]+\.[\w.-]+\w
    """,
    re.VERBOSE,
)
# Every secret above holds one of these, encoded or not; most paths hold none, and so cost one quick search.
_SUSPECT = re.compile(r"[@:=%]|eyJ|moz_|sk_|mp[sc]_")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def redact(text: str, *secrets: str | None, limit: int = 300) -> str:
    """
    Make *text* fit to be shown: mask what looks like a secret or an e-mail address, drop control characters, cut.

    Args:
        text: Anything that came from outside, for example a server's error message.
        secrets: Exact values known to be secret, masked wherever they appear.
        limit: Longest result in characters.
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, _MASK)
    # Cut only after masking, else half a secret could stay; bound the regex's work on huge bodies first.
    text = _SECRETS.sub(_MASK, _CONTROL.sub(" ", text[: limit * 20]))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def redact_target(target: str) -> str:
    """
    Make an encoded path and query fit to be shown: query keys stay, since they tell what was asked; values go.

    A path segment that looks like a secret or an e-mail address goes too.
    """
    path, mark, query = target.partition("?")
    if _SUSPECT.search(path):
        path = "/".join("REDACTED" if _SECRETS.search(unquote(part)) else part for part in path.split("/"))
    if not mark:
        return path
    return path + "?" + "&".join(_redact_pair(*pair.partition("=")) for pair in query.split("&"))


def _redact_pair(key: str, mark: str, _value: str) -> str:
    return f"{key}=REDACTED" if mark else "REDACTED"  # without a mark, what stands there may be the value


def query_values(params: Mapping[str, Any] | None) -> Iterator[str]:
    """Texts of a call's query that are masked where a server repeats them; short ones would mask common words."""
    for value in (params or {}).values():
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, str) and len(item) >= _SHORTEST_VALUE:
                yield item
