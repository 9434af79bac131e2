"""
The reference gateway: a local, stateful stand-in for the platform that misbehaves on script.

Or for the service of an OpenAPI document. Of this project it imports the reader of these documents alone, so that one
bug cannot hide its twin.
"""

from .app import DEFAULT_API_KEY, DEFAULT_TOKENS, Gateway, RequestRecord
from .faults import Fault
from .process import GatewayProcess
from .routes import Request, Response

__all__ = [
    "DEFAULT_API_KEY",
    "DEFAULT_TOKENS",
    "Fault",
    "Gateway",
    "GatewayProcess",
    "Request",
    "RequestRecord",
    "Response",
]
