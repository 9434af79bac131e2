"""Old import paths and names of what moved or was renamed, kept for one release with a `DeprecationWarning`."""

import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["MOVED", "RENAMED", "MovedModules", "announce_moves", "announce_renames", "renamed_member"]

MOVED = {
    "middleware.aiohttp_transport": "middleware.transports.aiohttp_transport",
    "middleware.auth": "middleware.request.auth",
    "middleware.bulkhead": "middleware.policies.bulkhead",
    "middleware.call_cap": "middleware.policies.admission",
    "middleware.cancellation": "middleware._internal.cancellation",
    "middleware.circuit_breaker": "middleware.policies.circuit_breaker",
    "middleware.connections": "middleware.transports.httpcore_transport",
    "middleware.correlation": "middleware.request.correlation",
    "middleware.deadline": "middleware.policies.deadline",
    "middleware.decode": "middleware.request.decode",
    "middleware.encode": "middleware.request.encode",
    "middleware.exchange": "middleware.transports.response_reader",
    "middleware.header_value": "middleware.request.header_values",
    "middleware.hedging": "middleware.policies.hedging",
    "middleware.httpx_transport": "middleware.transports.httpx_transport",
    "middleware.knobs": "middleware.settings",
    "middleware.metrics": "middleware.telemetry.metrics",
    "middleware.network": "middleware.transports.httpcore_backend",
    "middleware.options": "middleware.call_options",
    "middleware.outcome": "middleware.telemetry.recording",
    "middleware.pacing": "middleware.policies.admission",
    "middleware.per_loop": "middleware._internal.per_loop",
    "middleware.rate_limit": "middleware.policies.rate_limit",
    "middleware.request_log": "middleware.telemetry.logs",
    "middleware.retry": "middleware.policies.retry",
    "middleware.semconv": "middleware.telemetry.semconv",
    "middleware.tracing": "middleware.telemetry.tracing",
    "middleware.transport": "middleware.transports.registry",
}
"""New path of each module of `middleware` that moved, by its old path."""

RENAMED = {
    "middleware": {
        "PolicySource": "SettingsSource",
        "RefusedError": "LocalRejectionError",
        "RejectedError": "OperationFailedError",
        "StackConfig": "StackSettings",
    },
    "middleware.errors": {
        "RefusedError": "LocalRejectionError",
        "RejectedError": "OperationFailedError",
        "forget_locals": "clear_traceback_locals",
    },
    "middleware.policies.bulkhead": {"BulkheadConfig": "BulkheadSettings"},
    "middleware.policies.admission": {"CallCapConfig": "CallCapSettings"},
    "middleware.policies.circuit_breaker": {"CircuitBreakerConfig": "CircuitBreakerSettings"},
    "middleware.policies.deadline": {
        "AttemptTimeoutConfig": "AttemptTimeoutSettings",
        "DeadlineConfig": "DeadlineSettings",
    },
    "middleware.policies.hedging": {"HedgingConfig": "HedgingSettings"},
    "middleware.policies.rate_limit": {"RateLimitConfig": "RateLimitSettings", "Turn": "Slot"},
    "middleware.policies.retry": {
        "RetryBudgetConfig": "middleware.policies.retry_budget.RetryBudgetSettings",
        "RetryConfig": "RetrySettings",
    },
    "middleware.request.encode": {
        "IdempotencyConfig": "middleware.request.idempotency.IdempotencySettings",
        "IdempotencySettings": "middleware.request.idempotency.IdempotencySettings",
    },
    "middleware.settings": {"Knob": "SettingSpec"},
    "middleware.stack": {
        "FixedPolicy": "FixedSettings",
        "PolicySource": "SettingsSource",
        "StackConfig": "StackSettings",
    },
    "middleware.telemetry.recording": {
        "OutcomeMiddleware": "middleware.request.error_boundary.ErrorBoundaryMiddleware"
    },
    "middleware.transports.response_reader": {
        "BODY_METHODS": "middleware.transports.translation.BODY_METHODS",
        "FRESH_S": "middleware.transports.transport_settings.MAX_IDLE_FOR_UNSAFE_S",
        "MAX_IDLE_FOR_UNSAFE_S": "middleware.transports.transport_settings.MAX_IDLE_FOR_UNSAFE_S",
        "TlsContext": "middleware.transports.tls.TlsContext",
        "TransportConfig": "TransportSettings",
        "answer": "middleware.transports.translation.to_response",
        "env_proxies": "middleware.transports.proxies.env_proxies",
        "failure": "middleware.transports.translation.translate_error",
        "proxy_for": "middleware.transports.proxies.proxy_for",
        "wire_headers": "middleware.transports.translation.wire_headers",
    },
    "middleware.transports.registry": {"OwnTransport": "ClosableTransport", "TransportConfig": "TransportSettings"},
    "runtime.asgi": {"IncomingDeadlineMiddleware": "ConnectorsMiddleware"},
    "runtime.settings": {"LivePolicies": "LiveSettings", "Policies": "ResolvedSettings"},
}
"""
New name of each public name that was renamed, by its old one, by module.

With its module in front where the name has moved to another one.
"""


class MovedModules(MetaPathFinder, Loader):
    """
    Imports a module under its old name: the module at the new path itself, not a copy of it.

    The import system asks it last, so it never shadows a module that exists.

    Args:
        moves: New dotted path by old one.
    """

    def __init__(self, moves: Mapping[str, str]) -> None:
        self.moves = dict(moves)

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Return a spec for an old path; None for every other name."""
        return ModuleSpec(fullname, self) if fullname in self.moves else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module at the new path."""
        new = self.moves[spec.name]
        module = importlib.import_module(new)
        # The frames above are those of the import system, which `warnings` skips by itself.
        warnings.warn(_moved_text(spec.name, new), DeprecationWarning, stacklevel=2)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Restore the module's own spec, which the import system has just replaced."""
        spec = module.__spec__
        if spec is not None:
            module.__spec__ = spec.loader_state


def announce_moves(moves: Mapping[str, str] = MOVED) -> None:
    """Make the old paths of *moves* importable."""
    if not any(isinstance(found, MovedModules) for found in sys.meta_path):
        sys.meta_path.append(MovedModules(moves))


def announce_renames(module: str) -> None:
    """
    Make the old names of *module*, which is loaded, readable: each gives what the new name gives.

    Names of its modules that moved are readable too, without an import of their old paths: `middleware.retry`.
    """
    renames = RENAMED[module]

    def read_old_name(name: str) -> Any:
        path = f"{module}.{name}"
        if path in MOVED:
            warnings.warn(_moved_text(path, MOVED[path]), DeprecationWarning, stacklevel=2)
            return importlib.import_module(MOVED[path])
        if name not in renames:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new = renames[name]
        warnings.warn(_renamed_text(path, new), DeprecationWarning, stacklevel=2)
        home, _, new_name = new.rpartition(".")
        return getattr(importlib.import_module(home or module), new_name)

    vars(sys.modules[module])["__getattr__"] = read_old_name


def renamed_member(old: str, new: str) -> property:
    """Return a read-only property for the *old* name of a class's attribute or method that is now called *new*."""

    def read(self: object) -> Any:
        warnings.warn(_renamed_text(f"{type(self).__name__}.{old}", new), DeprecationWarning, stacklevel=2)
        return getattr(self, new)

    return property(read)


def _moved_text(old: str, new: str) -> str:
    return f"{old} has moved to {new}; the old path goes with the next release"


def _renamed_text(old: str, new: str) -> str:
    return f"{old} is now called {new}; the old name goes with the next release"
