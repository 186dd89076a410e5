"""Listening sockets: every connection is handed on, a few in each turn of the event loop.

asyncio's own server holds one TLS context for good, resets what waits to be accepted when it
is closed, and in Python 3.11 tries a hundred times more where there is no descriptor left.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Final

from userservice.rpc.target import host_and_port

log = logging.getLogger(__name__)

# A TLS handshake takes up to a millisecond: others must have their turn between these.
_ACCEPTED_A_TURN: Final = 16

# What is accepted at the end: as much as a queue holds, and not what goes on coming.
_QUEUED_MAX: Final = 4_096

_REST_S: Final = 1.0  # until it is tried again, where the system has no room

# accept(2): the connection is gone already, and this is its error.
_GONE: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,  # a firewall's rule
        errno.EPROTO,
    }
)


def address_of(sock: socket.socket) -> str:
    """Return where a socket listens: ``host:port``, ``[v6]:port``, or ``unix:path``."""
    name = sock.getsockname()
    return host_and_port(name) if isinstance(name, tuple) else f"unix:{name}"


class Listening:
    """The sockets that a server listens on, with as much of asyncio's server as grpclib asks for.

    Args:
        accepted: takes each connection.
    """

    def __init__(self, accepted: Callable[[socket.socket], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._accepted = accepted
        self._sockets: list[socket.socket] = []
        self._resting: dict[socket.socket, asyncio.TimerHandle] = {}
        self._has_room = True
        self._paused = False

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """Those that are open."""
        return tuple(self._sockets)

    def add(self, sock: socket.socket) -> None:
        """Accept on a socket that listens already; it is closed with the others."""
        sock.settimeout(0)
        self._sockets.append(sock)
        if not self._paused:
            self._loop.add_reader(sock, self._accept, sock)

    def pause(self) -> None:
        """Accept nothing more for now: what comes waits in the queues of the sockets."""
        if self._paused:
            return
        self._paused = True
        for sock in self._sockets:
            self._loop.remove_reader(sock)

    def go_on(self) -> None:
        """Accept again, after `pause`."""
        if not self._paused:
            return
        self._paused = False
        for sock in self._sockets:
            if sock not in self._resting:
                self._loop.add_reader(sock, self._accept, sock)

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(_ACCEPTED_A_TURN):
            if self._paused or not self._take(sock):
                return

    def _take(self, sock: socket.socket) -> bool:
        """Accept one connection; False where there is none, or no room for it."""
        try:
            connection, _address = sock.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _GONE:
                return True
            self._rest(sock, error)
            return False
        self._has_room = True
        self._accepted(connection)
        return True

    def _rest(self, sock: socket.socket, error: OSError) -> None:
        """Try again in a while: until then the socket would be ready in every turn."""
        if self._has_room:  # said once, until a connection is accepted again
            self._has_room = False
            log.warning("no connection can be accepted for now: %s", error.strerror)
        if sock not in self._sockets:  # it is about to be closed
            return
        self._loop.remove_reader(sock)
        self._resting[sock] = self._loop.call_later(_REST_S, self._rested, sock)

    def _rested(self, sock: socket.socket) -> None:
        self._resting.pop(sock, None)
        if not self._paused:
            self._loop.add_reader(sock, self._accept, sock)

    def close(self) -> None:
        """Accept what waits in the queues, which closing would reset, and close."""
        sockets, self._sockets = self._sockets, []
        for sock in sockets:
            self._loop.remove_reader(sock)
            if sock in self._resting:
                self._resting.pop(sock).cancel()
            for _ in range(_QUEUED_MAX):
                if not self._take(sock):
                    break
            sock.close()

    async def wait_closed(self) -> None:
        """Return: nothing is left of closed sockets."""
