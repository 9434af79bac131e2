"""
What happens to one call, whoever makes it: the resilience and observability stack.

Public names only. Importing this package reads no environment, opens nothing and sets up no telemetry.
"""

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
from .options import call_options
from .problem import Problem
from .stack import StackConfig, Telemetry
from .types import AttemptRecord, CallInfo, Handler, Middleware, Outcome, PlatformRequest, PlatformResponse, Transport

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
    "StackConfig",
    "StatusError",
    "SystemClock",
    "Telemetry",
    "Transport",
    "call_options",
]
