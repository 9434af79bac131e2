"""
What happens to one call, whoever makes it: the resilience and observability stack.

Public names only. Importing this package reads no environment, opens nothing and sets up no telemetry.
"""

from ._internal.moved import announce_moves
from .call_options import call_options, incoming_deadline
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
    NotFoundError,
    PermissionDeniedError,
    PlatformError,
    PoolTimeoutError,
    RateLimitedError,
    RateLimitExceededError,
    RedirectError,
    RefusedError,
    RejectedError,
    RequestNotSentError,
    ResponseLostError,
    ResponseTooLargeError,
    ServerError,
    StatusError,
)
from .problem import Problem
from .records import AttemptRecord, CallInfo, Outcome
from .stack import PolicySource, SettingsChange, StackConfig, Telemetry
from .types import Handler, Middleware, PlatformRequest, PlatformResponse, Transport

__all__ = [
    "AttemptRecord",
    "AuthenticationError",
    "BulkheadFullError",
    "CallError",
    "CallInfo",
    "CircuitOpenError",
    "ClientClosedError",
    "Clock",
    "ConfigError",
    "ConflictError",
    "DeadlineExceededError",
    "DecodeError",
    "Handler",
    "InternalError",
    "InvalidArgumentError",
    "InvalidRequestError",
    "Middleware",
    "NotFoundError",
    "Outcome",
    "PermissionDeniedError",
    "PlatformError",
    "PlatformRequest",
    "PlatformResponse",
    "PolicySource",
    "PoolTimeoutError",
    "Problem",
    "RateLimitExceededError",
    "RateLimitedError",
    "RedirectError",
    "RefusedError",
    "RejectedError",
    "RequestNotSentError",
    "ResponseLostError",
    "ResponseTooLargeError",
    "ServerError",
    "SettingsChange",
    "StackConfig",
    "StatusError",
    "SystemClock",
    "Telemetry",
    "Transport",
    "call_options",
    "incoming_deadline",
]

announce_moves()
