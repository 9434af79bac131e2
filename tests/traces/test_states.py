"""What calls say of their service over time, and what is kept of it."""

from state_spans import SECOND, START, attempt, call, states_of

from runtime.traces.calls import Call
from runtime.traces.states import worst_states


def over_time(states, service="identity", step_s=1):
    found = states.over_time(service, step_s * SECOND)
    return {(number * step_s * SECOND - START) // SECOND: one for number, one in found.items()}


def test_a_state_is_of_the_time_when_it_was_asked_for():
    """The breaker's of the last attempt, the settings' of the call's start, changes and balances of their own time."""
    events = [
        ("circuit_breaker.state_changed", 4, {"mozaiks.circuit_breaker.from": "closed", "mozaiks.circuit_breaker.to": "open"}),
        ("retry.scheduled", 2, {"mozaiks.retry_budget.balance": 9.4}),
        ("retry_budget.exhausted", 2.5, {"mozaiks.retry_budget.balance": 0}),
    ]  # fmt: skip
    span = call(1, lasts_s=5, events=events, breaker="closed", settings="f0802b9b")
    found = over_time(states_of(Call(span, (attempt(2, span, 0), attempt(3, span, 3)))))
    assert {at: (one.breaker, one.least_balance, one.hashes) for at, one in found.items()} == {
        0: (set(), None, {"f0802b9b"}),
        2: (set(), 0, set()),
        3: ({"closed"}, None, set()),
        4: ({"open"}, None, set()),
    }


def test_what_is_no_state_is_left_out():
    """Third-party spans say nothing, and a value of another kind, or beyond all bounds, is none."""
    other = call(1)._replace(attributes={})
    odd = [("x", 0, {"mozaiks.retry_budget.balance": value}) for value in ("many", float("nan"), 10**400, -1)]
    states = states_of(other, call(2, events=odd, breaker=3, settings=""))
    assert states.services == ["identity"]
    (found,) = over_time(states).values()
    assert found.breaker == set()
    assert found.least_balance is None
    assert found.hashes == set()


def test_memory_of_states_is_bounded():
    """Slices become longer, services and values are no more than so many; nothing known is lost."""
    states = states_of(*(call(number, at_s=number, breaker="closed") for number in range(25_000)))
    assert states.slice_ns == 2 * SECOND
    assert len(states.over_time("identity", 4 * SECOND)) in {6250, 6251}
    states = states_of(*(call(number, name=f"s{number}.op", settings=f"{number}") for number in range(200)))
    assert len(states.services) == 100
    states = states_of(*(call(number, settings=f"{number}") for number in range(50)))
    assert len(over_time(states)[0].hashes) == 8


def test_the_worst_state_is_first():
    """What lets nothing through before what lets all through; an unknown state last."""
    assert worst_states({"closed", "open", "half_open", "odd"}) == ["open", "half_open", "closed", "odd"]
