"""
The resilience and observability stack that every call passes.

Public names only. Importing this package reads no environment, opens nothing and sets up no telemetry.
"""

from typing import TYPE_CHECKING

from ._internal.moved import RENAMED, announce_moves, announce_renames
from .call_options import call_options, current_correlation_id, incoming_deadline, incoming_request
from .clock import Clock, SystemClock
from .errors import (
    AuthenticationError,
    BulkheadFullError,
    CallError,
    CircuitOpenError,
    ClientClosedError,
    ConfigError,
    ConflictError,
    DeadlineExceededError,
    DecodeError,
    InternalError,
    InvalidArgumentError,
    InvalidRequestError,
    LocalRejectionError,
    NotFoundError,
    OperationFailedError,
    OutOfResourcesError,
    PermissionDeniedError,
    PlatformError,
    PoolTimeoutError,
    RateLimitedError,
    RateLimitExceededError,
    RedirectError,
    RequestNotSentError,
    ResponseLostError,
    ResponseTooLargeError,
    ServerError,
    StatusError,
)
from .host_layers import HostLayers
from .problem import Problem
from .records import AttemptRecord, CallInfo, Outcome
from .stack import SettingsChange, SettingsSource, StackSettings, Telemetry
from .types import CallState, Handler, Middleware, PlatformRequest, PlatformResponse, Transport

__all__ = [
    "AttemptRecord",
    "AuthenticationError",
    "BulkheadFullError",
    "CallError",
    "CallInfo",
    "CallState",
    "CircuitOpenError",
    "ClientClosedError",
    "Clock",
    "ConfigError",
    "ConflictError",
    "DeadlineExceededError",
    "DecodeError",
    "Handler",
    "HostLayers",
    "InternalError",
    "InvalidArgumentError",
    "InvalidRequestError",
    "LocalRejectionError",
    "Middleware",
    "NotFoundError",
    "OperationFailedError",
    "OutOfResourcesError",
    "Outcome",
    "PermissionDeniedError",
    "PlatformError",
    "PlatformRequest",
    "PlatformResponse",
    "PoolTimeoutError",
    "Problem",
    "RateLimitExceededError",
    "RateLimitedError",
    "RedirectError",
    "RequestNotSentError",
    "ResponseLostError",
    "ResponseTooLargeError",
    "ServerError",
    "SettingsChange",
    "SettingsSource",
    "StackSettings",
    "StatusError",
    "SystemClock",
    "Telemetry",
    "Transport",
    "call_options",
    "current_correlation_id",
    "incoming_deadline",
    "incoming_request",
]

if TYPE_CHECKING:  # old names that type checkers know too; at run time `announce_renames` makes them, with a warning
    PolicySource = SettingsSource
    RefusedError = LocalRejectionError
    RejectedError = OperationFailedError
    StackConfig = StackSettings

announce_moves()
for _module in RENAMED:
    if _module.startswith(__name__):
        announce_renames(_module)
