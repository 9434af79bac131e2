"""
Compare how responses are read with msgspec and with the standard library alone: the same value, or the same error.

    python3 .ci/tools/json_parity.py                      # 200 000 generated documents
    python3 .ci/tools/json_parity.py --documents 5000

Generated from a seed, so that a difference can be made again: nested values, long integers, floats at the limits of
their range, duplicate keys, escapes, halves of surrogate pairs, byte order marks, deep nesting, and all of them
shortened, or with a byte changed.
"""

# ruff: noqa: PLR2004 - kinds of values, and their shares
import argparse
import json
import sys
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from middleware import DecodeError
from middleware.request import decode
from middleware.types import PlatformResponse

_NUMBERS = (
    "0", "-0", "-0.0", "1e5", "1E-7", "1e308", "1e309", "-1e999", "1e-999", "2.2250738585072011e-308", "0.1",
    "9007199254740993", "9007199254740993.0", "18446744073709551615", "18446744073709551616", "-9223372036854775809",
    "1" * 400 + ".5", "01", "1.", ".5", "+1", "NaN", "Infinity", "-Infinity",
)  # fmt: skip
_TEXTS = (
    "", "a", "\\n", "\\u0000", "\\ud83d\\ude00", "\\ud800", "\\udc00x", "\\u00e9", "é", "\x7f", "\\/",
    "\N{GRINNING FACE}", "\\x", "\x01",
)  # fmt: skip
_BLANKS = ("", "", "", " ", "\n", "\t\r", "\x0b", "\ufeff")


def a_number(random: Random) -> str:
    """Write a number, or what looks like one."""
    kind = random.randrange(4)
    if kind == 0:
        return random.choice(_NUMBERS)
    if kind == 1:  # CPython reads no integer of more than 4300 digits
        return random.choice(("", "-")) + "7" * random.choice((19, 20, 25, 300, 4299, 4300, 4301, 5000))
    if kind == 2:
        return repr(random.uniform(-1, 1) * 10.0 ** random.randint(-320, 308))
    return str(random.getrandbits(random.randint(1, 70)))


def a_text(random: Random) -> str:
    """Write a string."""
    return '"' + "".join(random.choice(_TEXTS[:11] if random.random() < 0.95 else _TEXTS) for _ in range(3)) + '"'


def a_value(random: Random, depth: int) -> str:
    """Write a value that is nested at most *depth* times."""
    kind = random.randrange(8 if depth else 5)
    if kind < 2:
        return a_number(random)
    if kind < 4:
        return a_text(random)
    if kind == 4:
        return random.choice(("true", "false", "null", "True", "nul"))
    blank = random.choice(_BLANKS) if random.random() < 0.1 else ""
    inside = [a_value(random, depth - 1) for _ in range(random.randint(0, 4))]
    if kind == 5:
        return f"[{blank}{(',' + blank).join(inside)}{',' if random.random() < 0.02 else ''}]"
    names = [random.choice(('"a"', '"b"', a_text(random))) for _ in inside]
    return "{" + ",".join(f"{name}{blank}:{value}" for name, value in zip(names, inside, strict=True)) + "}"


def a_document(random: Random) -> bytes:
    """Write a body: most of them are JSON."""
    if random.random() < 0.002:
        depth = random.choice((10, 200, 10_000))
        text = random.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth))
    else:
        text = a_value(random, random.randint(0, 4))
    body = text.encode()
    if random.random() < 0.05:
        body = b"\xef\xbb\xbf" + body
    if random.random() < 0.1:
        body = body[: random.randint(0, len(body))]
    if body and random.random() < 0.1:
        at = random.randrange(len(body))
        body = body[:at] + random.randbytes(1) + body[at + 1 :]
    return body


def read(body: bytes) -> tuple[str, Any]:
    """Return what a response with *body* is read as: its value, written so that types and order count, or an error."""
    try:
        return "value", repr(decode.parse_json(PlatformResponse(status=200, body=body)))
    except DecodeError as error:
        return type(error).__name__, (error.reason, error.is_incomplete)


def differences(documents: int, seed: int) -> list[bytes]:
    """Return the generated bodies that are read differently."""
    random, found = Random(seed), []  # noqa: S311 - test data
    for _ in range(documents):
        body = a_document(random)
        quick = read(body)
        with mock.patch.object(decode, "_quick", None):
            if read(body) != quick:
                found.append(body)
    return found


def main() -> int:
    """Compare, and print what differs; 1 if anything does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if decode._quick is None:
        sys.exit("msgspec is not installed")
    found = differences(arguments.documents, arguments.seed)
    for body in found[:10]:
        print(json.dumps(body[:200].decode("latin-1")))
    print(f"{arguments.documents} documents, {len(found)} read differently")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
