"""What a change of a document can mean: the rules, and one change."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from runtime._internal.findings import Rule, Severity

__all__ = ["RULES", "Change", "Verdict", "verdict_of"]


class Verdict(StrEnum):
    """What a change means for a connector that was made from the old document."""

    BREAKING = "breaking"
    COMPATIBLE = "compatible"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class Change:
    """
    One change.

    Attributes:
        rule: Id of its rule.
        reason: What is different.
        place: JSON pointer, as the fragment of a URL, into the new document; into the old one where *in_old*.
        in_old: Whether the place is in the old document, since the new one has nothing there.
        read: Path of a field in the response, one name for each level, `[]` for the items of a list and `{}` for the
            values of a dictionary; empty for anything else.
        is_added: Whether it is a parameter or field that the old document does not have.
        line: Line of the class in the connector's file that lacks it, from 1; 0 for none.
    """

    rule: str
    reason: str
    place: str
    in_old: bool = False
    read: tuple[str, ...] = ()
    is_added: bool = False
    line: int = 0


_E, _N = Severity.ERROR, Severity.NOTE

_RULES = (
    Rule(
        "OD101",
        "operation-gone",
        _E,
        "The operation is not in the new document, or has another path or method.",
        "The call fails with 404 or 405.",
        "Call what replaces it, or remove the method.",
    ),
    Rule(
        "OD102",
        "not-sent",
        _E,
        "Something is required that the connector does not send, or may leave out.",
        "The service rejects the request with 400.",
        "Generate the connector again, and pass the value.",
    ),
    Rule(
        "OD103",
        "rejected",
        _E,
        "A parameter or the body accepts less than it did, or in another notation.",
        "The service rejects with 400, 404 or 415 what it accepted.",
        "Generate the connector again, and check the values that plugins pass.",
    ),
    Rule(
        "OD104",
        "ignored",
        _E,
        "The connector sends something that the service no longer reads.",
        "The call works, and the value has no effect.",
        "Generate the connector again; plugins that pass the value need another way.",
    ),
    Rule(
        "OD105",
        "credentials",
        _E,
        "The operation needs credentials that it did not need.",
        "Calls with the credentials of before fail with 401 or 403.",
        "Pass the user's token, or configure the application's key; ask for the scope.",
    ),
    Rule(
        "OD106",
        "not-readable",
        _E,
        "The response may have a value that the connector cannot read.",
        "The call fails with DecodeError.",
        "Generate the connector again.",
    ),
    Rule(
        "OD107",
        "value-gone",
        _E,
        "The response no longer has a value that the connector reads.",
        "The call works, and the field is None or empty.",
        "Generate the connector again; plugins that read the field need another way.",
    ),
    Rule(
        "OD108",
        "no-document",
        _E,
        "The operation may succeed without a JSON document, where the connector reads one.",
        "The call fails with DecodeError, or its result is empty.",
        "Generate the connector again.",
    ),
    Rule(
        "OD201",
        "not-yet-sent",
        _N,
        "There is an optional parameter or field that the connector does not send.",
        "Calls work as before.",
        "Generate the connector again to send it.",
    ),
    Rule(
        "OD202",
        "not-yet-read",
        _N,
        "The response has something that the connector does not read.",
        "It is ignored, and calls work as before.",
        "Generate the connector again to read it.",
    ),
    Rule(
        "OD203",
        "still-fits",
        _N,
        "A value has changed in a way that the connector sends or reads.",
        "Calls work as before.",
        "Nothing needs to be done; generating again gives the exact type.",
    ),
    Rule(
        "OD204",
        "deprecated",
        _N,
        "The operation is deprecated now.",
        "It works, and will go.",
        "Plan for what replaces it.",
    ),
    Rule(
        "OD205",
        "not-called",
        _N,
        "The operation has changed, and no connector calls it.",
        "No call is affected.",
        "Nothing needs to be done.",
    ),
    Rule(
        "OD301",
        "operation-new",
        _N,
        "The operation is not in the old document, or the client can call it only now.",
        "No connector calls it yet.",
        "Generate the connector again to call it.",
    ),
)
RULES: Mapping[str, Rule] = {one.id: one for one in _RULES}
"""Each rule by its id: OD1xx breaks calls or loses values, OD2xx is compatible, OD3xx is new."""


def verdict_of(rule: str) -> Verdict:
    """Return what a change under *rule* means."""
    return {"1": Verdict.BREAKING, "2": Verdict.COMPATIBLE, "3": Verdict.NEW}[rule[2]]
