"""
The reference gateway: a local, stateful stand-in for the platform that misbehaves on script.

Imports nothing else of this project, so that one bug cannot hide its twin.
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
