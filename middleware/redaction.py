"""
Masks secrets in text from outside and in request targets, before these may appear in an error, span or log.

The cost is linear in the characters read, for any text: it is read on the event loop, and its author may be an
attacker. So a secret is found in two steps. A *head* matches its beginning, by a pattern that is bounded, or that
starts at the left edge of a run of characters and never backtracks; its *body* then extends to the right as far as its
characters go. Heads inside a body that is masked already are skipped.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

__all__ = ["MASK", "Redactor", "printable", "query_values", "redact", "redact_target"]

MASK = "***"
_LIMIT = 300
_READ_PER_SHOWN = 20
_LEAST_COST = 64
_SHORTEST_VALUE = 6
_SHORTEST_SECRET = 6  # an e-mail address
_UNDECIDED = 512
"""Characters at the end of the part that is read in which a secret may begin that only its rest would reveal."""

# Shapes of the platform's secrets, each as head and body.
_DOMAIN = r"@[\w-]++\.[\w.-]+\w"
_ASSIGNED = r"""["']?\s*+[:=]\s*+["']?(?!\s)"""
_SHAPES = (
    # JSON Web Tokens, and any long base64url text that begins like JSON: the end of a token may not be read.
    (r"eyJ(?=[\w-]{40}|[\w-]{5,39}+\.)", r"[\w.-]++"),
    (r"""(?i:bearer)\s++(?=[^\s"',;])""", r"""[^\s"',;]++"""),
    # App keys (moz_live_…), service keys (sk_c2p_live_…), payment secrets (mps_…).
    (r"\b(?:moz_(?:live|test)|sk_[a-z0-9]++(?:_live|_test)?|mps|mpc)_(?=[\w-]{6})", r"[\w-]++"),
    (r"(?i:\bbasic)\s++(?=\S*?[0-9=])(?=[\w+/-]{6})", r"[\w+/-]++={0,2}"),
    # Credentials in a URL; a host is never so long that only what follows shows that it is none.
    (rf"(?<=://)(?=[^/\s@]{{{_UNDECIDED}}}|[^/\s@]++@)", r"[^/\s@]++"),
    # Whole headers of credentials and cookies.
    (
        rf"""(?i:(?<![a-z])(?:(?:proxy-)?authorization|(?:set-)?cookie){_ASSIGNED})(?=[^"'}}])""",
        r"""[^"'}]++""",
    ),
    # Anything assigned to the name of a secret.
    (
        rf"""(?:(?i:(?<![a-z])(?:api[-_]?key|app[-_]?key|token|secret|password|passwd))
        | (?<=[a-z0-9])(?:ApiKey|AppKey|Token|Secret|Password)){_ASSIGNED}(?=[^\s"'&;,}}])""",
        r"""[^\s"'&;,}]++""",
    ),
    (rf"(?<![\w.+-])[\w.+-]++(?={_DOMAIN})", _DOMAIN),  # e-mail addresses
)
_HEADS_AND_BODIES = tuple((re.compile(head, re.VERBOSE), re.compile(body)) for head, body in _SHAPES)
_SECRET = re.compile("|".join(f"(?:{head})" for head, _ in _SHAPES), re.VERBOSE)
# Every secret above contains one of these, encoded or not; most paths contain none, and so cost one quick search.
_SUSPECT = re.compile(r"[@:=%]|eyJ|moz_|sk_|mp[sc]_")
_BEGINNING = 8
"""Characters of a known secret that are masked though its rest is missing: a server may shorten what it quotes."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]++")
# Half a character, which no encoding can write, and what changes the direction of the text around it, or is not seen.
_DECEPTIVE = re.compile(
    r"[\ud800-\udfff\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f]++"
)


def printable(text: str) -> str:
    """
    Make *text* fit to be written anywhere: the one filter for all texts from outside.

    Control characters become a blank. Lone surrogates (legal in the escapes of JSON, and in no encoding), bidirectional
    controls and characters of no width become U+FFFD.
    """
    return text if text.isascii() and text.isprintable() else _DECEPTIVE.sub("\ufffd", _CONTROL.sub(" ", text))


class Redactor:
    """
    Makes the texts of one origin safe to show, within one budget for all of them.

    Args:
        secrets: Exact values known to be secret, masked wherever they appear.
        budget: Characters to read; a text costs at least 64, which bounds their number. Texts after the budget is
            spent are dropped.
        mask_echoes: Masks in a text what the request carried; None where no request is known.
    """

    def __init__(
        self,
        *secrets: str | None,
        budget: float = math.inf,
        mask_echoes: Callable[[str], str] | None = None,
    ) -> None:
        self._mask_echoes = mask_echoes
        # The longest first: masking one that is part of another would expose the other's rest.
        self._secrets = sorted(dict.fromkeys(filter(None, secrets)), key=len, reverse=True)
        self._margin = _UNDECIDED + (len(self._secrets[0]) if self._secrets else 0)
        self._left = budget

    @property
    def is_spent(self) -> bool:
        """True when nothing is left of the budget."""
        return self._left <= 0

    def redact(self, text: str, limit: int = _LIMIT, *, is_name: bool = False) -> str:
        """
        Return *text* as `redact` would; empty when the budget is spent.

        Args:
            text: Any text from outside.
            limit: Longest result in characters.
            is_name: It is an error code, an id or the name of a field, in which what the request carried stays.
        """
        if self.is_spent:
            return ""
        read = text[: limit * _READ_PER_SHOWN + self._margin]
        is_part = len(read) < len(text)
        self._left -= max(_LEAST_COST, len(read))
        for secret in self._secrets:
            read = _mask_beginnings(read.replace(secret, MASK), secret)
        if self._mask_echoes is not None and not is_name:
            read = self._mask_echoes(read)
        read = printable(read)
        # Of a secret at the end only the beginning may have been read, which no pattern recognises.
        shown = _mask(read, max(0, len(read) - self._margin) if is_part else len(read))
        return shown if len(shown) <= limit and not is_part else shown[: limit - 1] + "…"


def redact(text: str, *secrets: str | None, limit: int = _LIMIT) -> str:
    """
    Make *text* safe to show: mask what looks like a secret or an e-mail address, make it printable, shorten.

    Only the beginning of a long text is read, twenty times *limit*: masks make room for what follows them.

    Args:
        text: Any text from outside, for example a server's error message.
        secrets: Exact values known to be secret, masked wherever they appear.
        limit: Longest result in characters; the last one is an ellipsis where something is missing.
    """
    return Redactor(*secrets).redact(text, limit)


def _mask_beginnings(text: str, secret: str) -> str:
    """Mask each part of *text* that begins as *secret* does, as far as it goes on like it."""
    beginning = secret[:_BEGINNING]
    if len(beginning) < _BEGINNING or beginning not in text:
        return text
    first, *others = text.split(beginning)
    rest = secret[_BEGINNING:]
    return first + "".join(MASK + other[_common(rest, other) :] for other in others)


def _common(one: str, other: str) -> int:
    """Return how many characters two texts begin with in common."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _mask(text: str, end: int) -> str:
    """Return *text* up to *end*, each secret part replaced by one mask."""
    pieces: list[str] = []
    at = 0
    for start, stop in sorted(_secrets(text)):
        if start >= end:
            break
        if start >= at:
            pieces += text[at:start], MASK
        at = max(at, stop)
    return "".join(pieces) + text[at:end]


def _secrets(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each secret in *text*, shape by shape; they may overlap."""
    for head, body in _HEADS_AND_BODIES:
        end = 0
        for found in head.finditer(text):
            if found.end() >= end:  # else it is part of the body before, and ends with it
                end = body.match(text, found.end()).end()  # type: ignore[union-attr] # the head has matched its beginning
                yield found.start(), end


def redact_target(target: str) -> str:
    """
    Make an encoded path and query safe to show: keep the query's keys, which say what was asked for; drop its values.

    A path segment that looks like a secret or an e-mail address is dropped too.
    """
    path, mark, query = target.partition("?")
    if _SUSPECT.search(path):
        path = "/".join("REDACTED" if _is_secret(part) else part for part in path.split("/"))
    if not mark:
        return path
    return path + "?" + "&".join(_redact_pair(*pair.partition("=")) for pair in query.split("&"))


def _is_secret(part: str) -> bool:
    return len(part) >= _SHORTEST_SECRET and _SECRET.search(unquote(part)) is not None


def _redact_pair(key: str, mark: str, _value: str) -> str:
    return f"{key}=REDACTED" if mark else "REDACTED"  # without a mark, the text may be the value


def query_values(params: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the query values of a call to mask where a server repeats them; short ones would mask common words."""
    for value in (params or {}).values():
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, str) and len(item) >= _SHORTEST_VALUE:
                yield item
