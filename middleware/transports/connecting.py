"""Connects a socket to the first address of a name that responds, and keeps no other one open."""

import asyncio
import socket

import anyio

from .exhaustion import as_exhausted
from .resolver import Address

__all__ = ["open_socket"]

_HAPPY_EYEBALLS_S = 0.25  # RFC 8305 section 5


async def open_socket(addresses: list[Address]) -> socket.socket:
    """
    Connect a socket to the first of *addresses* that responds; the next one starts after 250 ms (RFC 8305).

    asyncio and anyio do this too, but leak sockets when they are cancelled at the wrong moment. Here every socket is in
    a list as soon as it exists, and all but the returned one are closed.

    Raises:
        OSError: No address responds, or this process lacks the means.
    """
    opened: list[socket.socket] = []
    chosen: socket.socket | None = None
    try:
        # equivalent: `-1`: it is the only one
        chosen = await (_connect(addresses[0], opened) if len(addresses) == 1 else _race(addresses, opened))
    finally:
        for sock in opened:
            if sock is not chosen:
                sock.close()
    return chosen


async def _connect(address: Address, opened: list[socket.socket]) -> socket.socket:
    # The protocol is explicit, since asyncio checks it: without it TCP_NODELAY stays off, and each body after its head
    # waits 40 ms for a delayed acknowledgement.
    sock = socket.socket(address[0], socket.SOCK_STREAM, socket.IPPROTO_TCP)
    opened.append(sock)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, address[1])
    return sock


async def _race(addresses: list[Address], opened: list[socket.socket]) -> socket.socket:
    connected: list[socket.socket] = []
    errors: list[OSError] = []

    async def attempt(address: Address, ended: anyio.Event) -> None:
        try:
            connected.append(await _connect(address, opened))
            group.cancel_scope.cancel()
        except OSError as error:
            errors.append(error)
        finally:
            ended.set()

    async with anyio.create_task_group() as group:
        for address in addresses:
            ended = anyio.Event()
            group.start_soon(attempt, address, ended)
            with anyio.move_on_after(_HAPPY_EYEBALLS_S):
                await ended.wait()
    if not connected:
        raise next(filter(as_exhausted, errors), None) or OSError("; ".join(map(str, errors)))
    return connected[0]  # equivalent: `-1`: if two connected in the same moment, either will do
