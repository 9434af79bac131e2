"""
The rules: their ids, in the order of the contract, and what each asks for.

1xx are the contract's DOs and 2xx its DON'Ts, in its order; 3xx are what it implies; 4xx what its own template does
against the better form; 9xx concern the check itself. `source` is the sentence of the contract, or where the rule comes
from.
"""

from runtime._internal.findings import Rule, Severity

__all__ = ["RULES"]


def _rules(severity: Severity, *rows: tuple[str, str, str, str, str]) -> dict[str, Rule]:
    return {row[0]: Rule(row[0], row[1], severity, *row[2:]) for row in rows}


RULES = {
    **_rules(
        Severity.ERROR,
        (
            "CC101",
            "models-are-dataclasses",
            "DO 1: use dataclasses for all request/response models.",
            "Decoding, request bodies and copies of mocks read the fields of a dataclass.",
            "Decorate the class with `@dataclass`.",
        ),
        (
            "CC102",
            "interface-is-a-protocol",
            "DO 2: use Protocol for connector interface.",
            (
                "Plugins and type checkers know a connector by its Protocol. A subclass of a Protocol is none itself "
                "(PEP 544)."
            ),
            "Declare `class <Service>Connector(Protocol)`.",
        ),
        (
            "CC103",
            "optional-parameters-are-keyword-only",
            "DO 3: keyword-only args for optional parameters (`*, user_jwt=None`).",
            "An optional positional parameter fixes the order of all later ones.",
            "Move the parameter behind `*`.",
        ),
        (
            "CC104",
            "results-are-typed",
            "DO 4: return typed objects not raw dicts.",
            "A raw document differs by dialect, and no type checker knows its keys.",
            "Declare a dataclass as the result, and decode with `decoder(Model)`.",
        ),
        (
            "CC105",
            "none-is-handled",
            "DO 5: handle None for optional fields.",
            "An attribute of None is an AttributeError; a null in a body may overwrite a value.",
            "Annotate with `| None`, and test for None first; `body_of` leaves such fields out.",
        ),
        (
            "CC106",
            "correlation-id-is-forwarded",
            "DO 6: include correlation_id for tracing.",
            "A call without the caller's id cannot be found in the platform's logs.",
            'Take `correlation_id: str = ""`, and pass `correlation_id=correlation_id` to each call.',
        ),
        (
            "CC107",
            "public-methods-have-docstrings",
            "DO 7: docstrings on all public methods.",
            "A plugin's developer reads them in the editor. A warning where the Protocol's method has one.",
            "Write one line that says what the method does.",
        ),
        (
            "CC201",
            "mocks-do-not-raise",
            "DON'T 1: don't raise exceptions in mock connectors.",
            "A plugin that works against the platform must run in self-hosted mode.",
            "Return a default; `any_key`, `any_field`, `any_texts` and `any_page` make a usable value of anything.",
        ),
        (
            "CC202",
            "no-hard-coded-urls",
            "DON'T 2: don't hardcode URLs - use `self._http` client.",
            "Another host gets neither the credentials nor the retries, spans and deadlines of the client.",
            "Call `self._http` with a path that begins with `/`.",
        ),
        (
            "CC203",
            "no-state-in-managed-connectors",
            "DON'T 3: don't store state across requests in managed connectors.",
            "One connector serves all users, on all event loops and threads.",
            "Keep values in local variables; the platform has the state.",
        ),
        (
            "CC204",
            "no-environment-access",
            "DON'T 4: don't access env vars directly - use injected config.",
            "A host configures connectors in one place, and tests run without an environment.",
            "Let the host give the value: it belongs to the client's configuration.",
        ),
        (
            "CC301",
            "user-jwt-is-forwarded",
            "Authentication Flow: the HTTP client forwards the JWT that the method gets.",
            "A call without it runs as nobody, or as the application.",
            "Take `user_jwt: str | None = None`, and pass `user_jwt=user_jwt` to each call.",
        ),
        (
            "CC302",
            "same-methods",
            "File Template: implement the Protocol for both managed and mock modes.",
            "A method that one of them lacks is an AttributeError in the other mode.",
            "Give Protocol, managed class and mock the same public methods.",
        ),
        (
            "CC303",
            "same-signatures",
            "File Template: the same signatures in Protocol, managed class and mock.",
            "A default or an annotation that differs makes the mock another interface.",
            "Copy the Protocol's signature.",
        ),
        (
            "CC304",
            "endpoints-are-documented",
            "File Template: the module docstring lists the endpoints.",
            "Operators read there what a connector calls.",
            "List each as `- GET /api/items/{item_id}` below `Endpoints:`. A list with `...` is a warning.",
        ),
        (
            "CC305",
            "registered-in-the-loader",
            "Loader Integration: register your connector.",
            "A connector that is not registered is in no bundle.",
            "Declare `Connector(name, Managed…, Mock…)`, in `registry.py` or in the package itself.",
        ),
        (
            "CC306",
            "arguments-reach-the-platform",
            "File Template: what a method takes is sent.",
            "An argument that is not sent is a promise that the platform does not know of.",
            "Send the argument, or remove it from Protocol, managed class and mock.",
        ),
        (
            "CC307",
            "client-arguments-exist",
            "File Template: the arguments of `self._http`.",
            "The call is a TypeError as soon as it runs.",
            "Use the arguments of `EndpointArguments`, by keyword.",
        ),
        (
            "CC308",
            "path-params-match-the-template",
            "What `path_params` mean: one value for each placeholder of the path.",
            "The call fails with InvalidArgumentError, and nothing is sent.",
            "Give `path_params` exactly the names in braces of the path.",
        ),
        (
            "CC309",
            "operations-have-their-methods-name",
            "What an `Endpoint` declares: the name of the connector's method.",
            "Settings, spans and metrics of the method are looked up by that name.",
            "Give the Endpoint the name of the method that calls it.",
        ),
    ),
    **_rules(
        Severity.WARNING,
        (
            "CC401",
            "path-values-in-path-params",
            'The template\'s `f"/api/service/items/{item_id}"`.',
            "An id with `/`, `?` or `..` changes the request; spans and metrics have the route `other`.",
            'Write `/api/items/{item_id}` as plain text, and pass `path_params={"item_id": item_id}`.',
        ),
        (
            "CC402",
            "models-are-decoded",
            "The template's `ServiceItem(**response)`.",
            "An unknown or missing key is a TypeError; camelCase is not read, and times stay strings.",
            "Decode with `decoder(Model)`, in an `Endpoint`.",
        ),
        (
            "CC403",
            "times-have-a-zone",
            "The template's `datetime.utcnow()`.",
            "A naive time cannot be compared with the platform's.",
            "Write `datetime.now(UTC)`.",
        ),
        (
            "CC404",
            "empty-responses-are-successes",
            'The template\'s `response.get("success", False)`.',
            "A 204 has no document, and would count as a failure.",
            "Decode with `succeeded`.",
        ),
        (
            "CC405",
            "arguments-are-checked",
            "The template's `request.name`, and arguments sent as they come.",
            "A wrong type is an AttributeError, or an error of the platform after a request.",
            "Read requests with `body_of`, lists with `texts_of`, others with `wrong_type`, and pass `problem=`.",
        ),
    ),
    **_rules(
        Severity.ERROR,
        (
            "CC900",
            "file-can-be-read",
            "The check itself.",
            "A file that cannot be read or parsed cannot be checked.",
            "Correct the file, or its path.",
        ),
        (
            "CC901",
            "suppressions-have-a-reason",
            "The check itself.",
            "A suppression without its reason cannot be reviewed.",
            "Write `# contract: ignore[CC203] the reason`, with known ids.",
        ),
    ),
    **_rules(
        Severity.WARNING,
        (
            "CC902",
            "suppressions-are-used",
            "The check itself.",
            "A suppression that suppresses nothing hides the next mistake.",
            "Remove it.",
        ),
    ),
}
"""Every rule by its id."""
