"""systemd's side of a service: the sockets that it passes on, and what it wants to hear.

Both are a few variables of the environment and a datagram (sd_listen_fds(3), sd_notify(3)).
"""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, MutableMapping
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Final

import structlog

from userservice.app.errors import ServeError

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_FIRST: Final = 3  # the number of the first socket that is passed on
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
_SEND_S: Final = 1.0  # as long as systemd may take to have room for a datagram


class PassedSocketError(ServeError, ValueError):
    """What was passed on cannot be served; the text is one line."""


def passed_sockets(environment: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """Return the sockets that systemd opened for this process; none where it did not.

    Their variables are removed: no process that this one starts may take them for its own.

    Raises:
        PassedSocketError: one of them is no listening stream socket.
    """
    given = {name: environment.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES")}
    if given["PID"] != str(os.getpid()):  # another process's, which let us inherit them
        return []
    if not _is_number(given["FDS"]):
        raise PassedSocketError(f"LISTEN_FDS is a number, not {given['FDS']!r}")
    count = int(given["FDS"])
    names = dict(enumerate(given["FDNAMES"].split(":")))
    with ExitStack() as passed:
        sockets = [
            passed.enter_context(_listening(_FIRST + place, names.get(place, "")))
            for place in range(count)
        ]
        passed.pop_all()
        return sockets


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _listening(number: int, name: str) -> socket.socket:
    """Return a descriptor as the listening socket that it has to be."""
    what = f"file descriptor {number} of LISTEN_FDS" + (f" ({name})" if name else "")
    try:
        is_socket = stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError as error:
        raise PassedSocketError(f"{what}: {error.strerror}") from error
    if not is_socket:
        raise PassedSocketError(f"{what} is no socket: a socket unit with ListenStream= has one")
    os.set_inheritable(number, False)  # noqa: FBT003  # its only parameter
    sock = socket.socket(fileno=number)
    if sock.family not in _FAMILIES or sock.type is not socket.SOCK_STREAM:
        fault = "is no stream socket of TCP or Unix: ListenStream= makes one"
    elif not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        fault = "is a connection, and does not listen: the socket unit needs Accept=no"
    else:
        return sock
    sock.close()
    raise PassedSocketError(f"{what} {fault}")


def notify(*states: str) -> None:
    """Tell systemd something, where it listens: such as ``READY=1``."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # of the abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_SEND_S)
        try:
            sock.sendto("\n".join(states).encode(), address)
        except OSError as error:  # its service is served all the same
            log.warning("systemd was not told", states=states, error=str(error))


@asynccontextmanager
async def announced(status: str) -> AsyncIterator[None]:
    """Tell systemd that the service is ready, and at the end of the block that it stops.

    A watchdog hears from the event loop meanwhile: where that does not go on, nothing does.

    Args:
        status: what ``systemctl status`` shows.
    """
    notify("READY=1", f"STATUS={status}")
    pings = asyncio.create_task(_feed_watchdog())
    try:
        yield
    finally:
        notify("STOPPING=1", "STATUS=stopping")
        pings.cancel()
        with suppress(asyncio.CancelledError):
            await pings


async def _feed_watchdog() -> None:
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not _is_number(usec) or int(usec) == 0 or pid not in ("", str(os.getpid())):
        return
    while True:
        await asyncio.sleep(int(usec) / 2_000_000)  # twice as often, as sd_watchdog_enabled(3) says
        notify("WATCHDOG=1")
