"""Connectors for one run of a plugin: bound to its user and correlation id, and to what is left of its time."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from middleware.call_options import current_correlation_id, incoming_deadline, incoming_request
from middleware.clock import Clock
from middleware.errors import ConfigError
from middleware.request.correlation import choose_correlation_id
from runtime.connectors.loader import ConnectorBundle, get_connectors

__all__ = ["plugin_connectors"]

_BUDGET_S = 30.0
"""After so long the core's plugin manager cancels a plugin."""
_RESERVE_S = 0.5
"""What a plugin needs to make its result of an error; it makes no calls in it."""


@contextmanager
def plugin_connectors(
    data: Mapping[str, Any],
    *,
    bundle: ConnectorBundle | None = None,
    budget_s: float = _BUDGET_S,
    reserve_s: float = _RESERVE_S,
    clock: Clock | None = None,
) -> Iterator[ConnectorBundle]:
    """
    Bind connectors to one run of a plugin, for the `with` block.

        async def execute(data):
            try:
                with plugin_connectors(data) as connectors:
                    return {"user": (await connectors.identity.get_current_user()).username}
            except PlatformError as error:
                return error.to_plugin_error()

    The `try` is around the `with` too, which raises where a setting is wrong.

    At the start of the plugin, or by the host's plugin manager around it. Calls carry `data["user_jwt"]` and one
    correlation id: that of the request being served, else `data["correlation_id"]` where it can be sent, else a new
    one. They end *reserve_s* before the budget does, so that the plugin gets a `DeadlineExceededError` and can respond,
    before it is cancelled. With the block all of that ends: calls of the view fail then, also those of tasks that the
    plugin has left behind.

    Args:
        data: The plugin's argument, as the core's plugin manager passes it.
        bundle: The connectors; None takes those of the process.
        budget_s: Seconds from now after which the plugin is cancelled; 30 by default, the core's own limit.
        reserve_s: Seconds of the budget that are kept for the plugin itself; 0.5 by default.
        clock: Source of time, the connectors' own.

    Raises:
        ConfigError: The reserve is not shorter than the budget, or the connectors cannot be loaded.
    """
    if not 0 <= reserve_s < budget_s:
        raise ConfigError(f"reserve_s: must be >= 0 and < budget_s, got {reserve_s!r} of {budget_s!r}")
    correlation_id, _ = choose_correlation_id(current_correlation_id() or data.get("correlation_id"))
    found = get_connectors() if bundle is None else bundle
    with (
        incoming_request(correlation_id),
        incoming_deadline(budget_s - reserve_s, clock=clock) as deadline,
    ):
        try:
            yield found.bind(user_jwt=data.get("user_jwt"))
        finally:
            deadline.lift()
