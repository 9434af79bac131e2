"""The tests that are generated for each connector."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from middleware.errors import (
    AuthenticationError,
    CallError,
    ConflictError,
    InvalidArgumentError,
    InvalidRequestError,
    NotFoundError,
    OperationFailedError,
    PermissionDeniedError,
    PlatformError,
    RateLimitedError,
    ServerError,
    StatusError,
)
from runtime.testing import VirtualTimeLoop, run_virtual

from . import Conformance, documents
from .scenario import DIALECTS, differences, on_gateway, on_mock
from .subject import KEY, TOKEN, Subject, Wire, reply
from .values import HOSTILE, hostile_arguments, hostile_requests, problem_of, shown

__all__ = ["suite_of"]

_ID = "conformance-1"
_CREDENTIALS = {"user_jwt": TOKEN, "correlation_id": _ID}
_USERS = 8
_EXAMPLES = 10
# Written out: the table of the product is what is tested.
_ERRORS: Mapping[int, type[PlatformError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: StatusError,
    422: InvalidRequestError,
    429: RateLimitedError,
    500: ServerError,
    502: ServerError,
    503: ServerError,
    504: ServerError,
}
_FAILURE = {"success": False, "error": {"code": "quota_exceeded", "message": "Quota exceeded."}}
# What a caller may pass by mistake; a managed connector rejects it, and a mock makes something of it.
_MISTAKES = (None, "", 7, [object()])


class _Tests:
    """Tests of every connector; each is run for each of its operations."""

    subject: ClassVar[Subject]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test for each operation, or for each of what else it is about."""
        cases = {"operation": self.subject.operations, "dialect": DIALECTS}
        for name in cases.keys() & set(metafunc.fixturenames):
            metafunc.parametrize(name, cases[name])

    def test_the_mock_raises_for_nothing(self, operation: str) -> None:
        """DON'T 1: any argument gets a result of the declared type, for each parameter alone and all together."""
        subject, mock = self.subject, self.subject.mock()
        method = getattr(mock, operation)
        valid, parameters = subject.arguments(operation), subject.parameters(operation)
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:

            def check(arguments: Mapping[str, Any], called: str = operation) -> None:
                try:
                    result = runner.run(getattr(mock, called)(**arguments))
                except Exception as error:  # noqa: BLE001 - a mock must raise none
                    problem = f"raised {type(error).__name__}: {error}"
                else:
                    problem = problem_of(result, subject.result_type(called))
                if problem:
                    given = ", ".join(f"{name}={_shown(value)}" for name, value in arguments.items())
                    pytest.fail(f"{called}({given}): {problem}")

            check(valid)
            for value in HOSTILE:
                check(dict.fromkeys(parameters, value))
                for parameter in parameters:
                    check({**valid, parameter: value})
                for name, request in hostile_requests(method, value).items():
                    check({**valid, name: request})
            _for_any(check, hostile_arguments(method, valid))
            for other in subject.operations:  # what was stored meanwhile must not fail another one
                check(subject.arguments(other), other)

    def test_id_token_and_key_reach_the_wire(self, operation: str) -> None:
        """DO 6: each request of the operation has them, whatever the platform responds; none is made up."""
        document, _ = self.subject.document(operation)

        async def run() -> None:
            wire = Wire(self.subject)
            for response in (reply(document), 204, 404, 500):
                wire.respond = response
                await wire.outcome(operation, **_CREDENTIALS)
            assert len(wire.requests) >= 4, (  # noqa: PLR2004 - the responses above
                f"{operation} makes no request; where other arguments make one, "
                f"give Conformance(arguments={{{operation!r}: …}})"
            )
            for request in wire.requests:
                sent = {name: request.headers.get(name) for name in ("authorization", "x-correlation-id")}
                assert sent == {"authorization": f"Bearer {TOKEN}", "x-correlation-id": _ID}, operation
                assert request.headers.get("x-mozaiks-app-key") == KEY, operation
                assert TOKEN not in request.path + request.query + request.body.decode(), "the token is in the request"
            wire.requests.clear()
            await wire.outcome(operation)
            assert all("authorization" not in request.headers for request in wire.requests), "a token that is not given"
            assert all(request.headers.get("x-correlation-id") for request in wire.requests)

        run_virtual(run())

    def test_each_error_status_becomes_its_error(self, operation: str) -> None:
        """With the operation's name; a failure that is reported with 200 is one too."""

        async def run() -> None:
            wire = Wire(self.subject)
            for status, kind in _ERRORS.items():
                wire.respond = status
                found = await wire.outcome(operation)
                assert type(found) is kind, f"{operation}: {status} became {_shown(found)}"
                assert getattr(found, "operation", "") == operation, f"{operation}: the error names another one"
            for step in ("lost", "hang"):
                wire.respond = step
                found = await wire.outcome(operation)
                assert isinstance(found, CallError), f"{operation}: {step} became {_shown(found)}"
            wire.respond = reply(_FAILURE)
            found = await wire.outcome(operation)
            assert isinstance(found, OperationFailedError), f"{operation}: a failure became {_shown(found)}"

        run_virtual(run())

    def test_documents_may_change(self, operation: str) -> None:
        """Unknown keys are ignored; a missing or null field is a result of the declared type, or an error of ours."""
        kind = self.subject.result_type(operation)
        document, wrap = self.subject.document(operation)

        async def run() -> None:
            wire = Wire(self.subject)
            wire.respond = reply(document)
            expected = await wire.call(operation)
            assert not (problem := problem_of(expected, kind)), f"{operation}: {problem}"
            wire.respond = reply(documents.extended(document, kind))
            found = await wire.outcome(operation)
            assert not isinstance(found, PlatformError), f"{operation}: a further key is an error: {found}"
            assert documents.known(found) == documents.known(expected), f"{operation}: a further key changes the result"
            for place, done, changed in documents.changes(document):
                wire.respond = reply(changed)
                found = await wire.outcome(operation)
                if isinstance(found, PlatformError):
                    is_optional = wrap is not None and documents.may_be_none(kind, place)
                    assert not is_optional, f"{operation}: {place} is optional, and {done} is an error: {found}"
                else:
                    assert not (problem := problem_of(found, kind)), f"{operation}: {place} {done}: {problem}"

        run_virtual(run())

    def test_users_do_not_mix(self, operation: str) -> None:
        """Callers at the same time: each request has one caller's token and id, each caller gets its own response."""
        document, _ = self.subject.document(operation)

        async def run() -> None:
            wire = Wire(self.subject)
            marked = await _marked(wire, operation, document)

            async def respond(request: Any) -> Any:
                number = int(request.headers["x-correlation-id"].rpartition("-")[2])
                await asyncio.sleep((_USERS - number) / 100)  # the first caller waits longest
                return reply(marked(f"user-{number}") if marked else document)

            wire.requests.clear()
            wire.respond = respond
            calls = [
                wire.call(operation, user_jwt=f"{TOKEN}-{number}", correlation_id=f"conformance-{number}")
                for number in range(_USERS)
            ]
            results = await asyncio.gather(*calls)
            seen = {(one.headers.get("authorization"), one.headers.get("x-correlation-id")) for one in wire.requests}
            assert seen == {(f"Bearer {TOKEN}-{number}", f"conformance-{number}") for number in range(_USERS)}
            for number, result in enumerate(results):
                assert marked is None or f"user-{number}" in repr(result), f"{operation}: another caller's response"

        run_virtual(run())

    def test_the_mock_is_what_the_platform_could_respond(self, operation: str) -> None:
        """The managed connector reads the mock's result as the platform would write it, and returns the same."""
        document, wrap = self.subject.document(operation)

        async def run() -> None:
            wire = Wire(self.subject)
            mocked = await getattr(self.subject.mock(), operation)(**self.subject.arguments(operation))
            if wrap is not None:
                wire.respond = reply(documents.extended(document, self.subject.result_type(operation)))
                keeps = documents.keeping(await wire.outcome(operation))
                wire.respond = reply(wrap(documents.encoded(mocked, without=keeps)))
                found = await wire.outcome(operation)
                assert found == mocked, f"{operation}: the mock returns {_shown(mocked)}, managed {_shown(found)}"
            wire.respond = reply(document)
            for parameter in self.subject.parameters(operation):
                for value in _MISTAKES:
                    wire.requests.clear()
                    found = await wire.outcome(operation, **{parameter: value})
                    if isinstance(found, PlatformError):  # the one difference that is allowed
                        place = f"{operation}({parameter}={_shown(value)})"
                        assert isinstance(found, InvalidArgumentError), (
                            f"{place} raised {type(found).__name__}: {found}"
                        )
                        assert not wire.requests, f"{place} is invalid, and was sent"

        run_virtual(run())


class _ScenarioTests:
    """Tests of a connector whose owner gives a scenario."""

    subject: ClassVar[Subject]

    def test_the_scenario_has_every_operation(self) -> None:
        """None is without a comparison."""
        left_out = set(self.subject.operations) - {step.operation for step in self.subject.declared.steps}
        assert not left_out, f"Conformance.steps: no step calls {', '.join(sorted(left_out))}"

    def test_mock_and_managed_give_equivalent_results(self, dialect: str) -> None:
        """Step by step, against the reference gateway in each dialect."""
        mocked, managed = run_virtual(on_mock(self.subject)), run_virtual(on_gateway(self.subject, dialect))
        found = list(differences(self.subject, mocked, managed))
        assert not found, "\n".join(found)


class _RecordedTests:
    """Tests of a connector whose owner has recorded responses."""

    subject: ClassVar[Subject]

    def test_recorded_responses_are_read(self) -> None:
        """Each becomes a result of the declared type, or the error of its status."""
        from .recording import recorded

        async def run() -> None:
            wire = Wire(self.subject)
            exchanges = recorded(self.subject.declared.recorded or "")
            assert exchanges, "nothing is recorded"
            for one in exchanges:
                wire.respond = one.reply
                found = await wire.outcome(one.operation)
                place = f"{one.operation} ({one.reply.status})"
                if one.reply.status in _ERRORS:
                    assert type(found) is _ERRORS[one.reply.status], f"{place} became {_shown(found)}"
                elif not isinstance(found, OperationFailedError):
                    problem = problem_of(found, self.subject.result_type(one.operation))
                    assert not problem, f"{place}: {problem}"

        run_virtual(run())


def suite_of(declared: Conformance) -> type:
    """
    Return the class of the tests of one connector.

    Raises:
        TypeError: It is about no `Connector`.
        ValueError: It names an operation that the connector does not have.
    """
    from runtime.connectors.registry import Connector

    if not isinstance(declared.connector, Connector):
        raise TypeError(f"Conformance.connector: must be a Connector, got {type(declared.connector).__name__}")
    for name, given in (
        ("arguments", declared.arguments),
        ("documents", declared.documents),
        ("steps", [step.operation for step in declared.steps]),
    ):
        if unknown := set(given) - set(declared.connector.operations):
            raise ValueError(f"Conformance.{name}: {declared.connector.name} has no {min(unknown)}")
    bases: list[type] = [_Tests]
    if declared.steps:
        bases.append(_ScenarioTests)
    if declared.recorded is not None:
        bases.append(_RecordedTests)
    return type("ConformanceTests", tuple(bases), {"subject": Subject(declared)})


def _for_any(check: Callable[[Mapping[str, Any]], None], arguments: Any) -> None:
    import hypothesis

    profile = hypothesis.settings()
    hypothesis.settings(
        max_examples=min(profile.max_examples, _EXAMPLES),
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )(hypothesis.given(given=arguments)(_property(check)))()


def _property(check: Callable[[Mapping[str, Any]], None]) -> Callable[..., None]:
    def run(given: Mapping[str, Any]) -> None:  # a function of one argument, as hypothesis wants it
        check(given)

    return run


async def _marked(wire: Wire, operation: str, document: Any) -> Any:
    """Return how a text of the caller's own is put into *document*, so that the result shows it; None for none."""
    for index, changed in enumerate(documents.marked(document, "user-mark")):
        wire.respond = reply(changed)
        if "user-mark" in repr(await wire.outcome(operation)):
            return lambda mark: [*documents.marked(document, mark)][index]
    return None


def _shown(value: Any) -> str:
    return f"{type(value).__name__}: {value}" if isinstance(value, PlatformError) else shown(value)
