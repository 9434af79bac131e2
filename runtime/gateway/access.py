"""
Who may ask the gateway: programs of this machine, and no web page.

A page of any site can send requests to a loopback port, and, once its own name has been made to resolve to 127.0.0.1
(DNS rebinding), read the responses too. Both show: in the Origin, and in the Host.
"""

import ipaddress
import re
from collections.abc import Iterable

from .routes import Request, Response

__all__ = ["CONTROL", "Access", "is_loopback"]

CONTROL = "/__gateway__/"
_HOST = re.compile(r"(?:\[([^][]*+)\]|([^][:]*+))(?::[0-9]*+)?")
_NAMED = re.compile(r"[\w.-]+|\[[0-9A-Fa-f:.]+\]")


class Access:
    """
    Decides whether a request is responded to.

    Args:
        names: Host names that are accepted in addition to those and the addresses of loopback.

    Raises:
        ValueError: One of *names* is no host name without a port.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        given = list(names)
        if not all(map(_NAMED.fullmatch, given)):
            raise ValueError("must be a host name without a port")
        self._names = {_name(name) for name in given}

    def refusal(self, request: Request) -> Response | None:
        """Return the response to a request that is not taken; None for one that is."""
        if not self._is_ours(_name(request.headers.get("host", ""))):
            message = "The reference gateway accepts a Host of loopback, and those of --allow-host, alone."
            return Response(status=421, document={"error": "HostNotAllowed", "message": message})
        if "origin" in request.headers:
            message = "The reference gateway accepts no request of a web page, which has an Origin."
            return Response(status=403, document={"error": "OriginNotAllowed", "message": message})
        if request.path.startswith(CONTROL) and request.method == "POST":
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":  # a page may send any other without asking
                return Response(status=415, document={"error": "content-type: must be application/json"})
        return None

    def _is_ours(self, name: str) -> bool:
        if name in self._names or name == "localhost" or name.endswith(".localhost"):  # RFC 6761 section 6.3
            return True
        return is_loopback(name)


def is_loopback(address: str) -> bool:
    """Is *address* an IP address of loopback?"""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """Return the name or address in *host*, in lower case and without its port; empty where it has none."""
    found = _HOST.fullmatch(host.strip())
    return "" if found is None else (found[1] or found[2] or "").lower().removesuffix(".")
