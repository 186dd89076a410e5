"""Where a target leads: its addresses, and a socket to each."""

import asyncio
import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from userservice.rpc.target import Target, host_and_port


@dataclass(frozen=True, slots=True)
class Place:
    """One address of a server.

    Args:
        family: the kind of its socket.
        address: what the socket is connected to.
        text: the address for people.
    """

    family: int
    address: Any
    text: str


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What became of the look-up of a name.

    Args:
        places: the addresses, in the order in which clients try them.
        seconds: how long it took.
        error: why it failed; a TimeoutError where nothing was heard.
    """

    places: Sequence[Place] = ()
    seconds: float = 0.0
    error: OSError | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of the connection to one address.

    Args:
        place: the address.
        seconds: how long it took.
        error: why it failed; a TimeoutError where nothing was heard.
    """

    place: Place
    seconds: float
    error: OSError | None = None


def is_address(host: str) -> bool:
    """Tell whether this is an address, which needs no look-up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def look_up(target: Target, timeout_s: float) -> LookedUp:
    """Return the addresses of a target."""
    if target.path is not None:
        return LookedUp([Place(socket.AF_UNIX, target.path, f"unix:{target.path}")])
    started = time.perf_counter()
    try:
        async with asyncio.timeout(timeout_s):
            found = await _resolved(target)
    except OSError as error:  # also TimeoutError
        return LookedUp(seconds=time.perf_counter() - started, error=error)
    seconds = time.perf_counter() - started
    places = [Place(family, name, host_and_port(name)) for family, _, _, _, name in found]
    return LookedUp(list(dict.fromkeys(places)), seconds)


async def _resolved(target: Target) -> list[Any]:
    """Ask the system's resolver, in a thread that nobody waits for.

    asyncio's own thread would keep the program from ending for as long as a name server
    is silent.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Any]] = loop.create_future()

    def tell(found: list[Any], error: OSError | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    def ask() -> None:
        found: list[Any] = []
        fault = None
        try:
            found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except OSError as error:
            fault = error
        except ValueError as error:  # a name that no resolver takes
            fault = socket.gaierror(socket.EAI_NONAME, str(error))
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, found, fault)

    threading.Thread(target=ask, daemon=True).start()
    return await answer


async def dial(place: Place, timeout_s: float) -> socket.socket:
    """Return a socket that is connected to this address.

    Raises:
        OSError: it cannot be; a TimeoutError where nothing was heard.
    """
    # Only where the protocol is named does asyncio send at once what it is given (TCP_NODELAY).
    protocol = 0 if place.family == socket.AF_UNIX else socket.IPPROTO_TCP
    sock = socket.socket(place.family, socket.SOCK_STREAM, protocol)
    try:
        sock.setblocking(False)  # noqa: FBT003  socket's own
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().sock_connect(sock, place.address)
    except BaseException:
        sock.close()
        raise
    return sock


async def attempt(place: Place, timeout_s: float) -> Attempt:
    """Connect to an address, and leave at once."""
    started = time.perf_counter()
    try:
        sock = await dial(place, timeout_s)
    except OSError as error:
        return Attempt(place, time.perf_counter() - started, error)
    sock.close()
    return Attempt(place, time.perf_counter() - started)
