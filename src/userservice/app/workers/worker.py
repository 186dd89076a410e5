"""A worker: one of the processes that serve behind a supervisor.

It listens to nothing. The supervisor hands it connections, and says when to end; where
the supervisor is gone, the worker ends as well.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import structlog

from userservice.app.errors import ServeError
from userservice.app.serve import ServeSettings, server_tls, wired_server
from userservice.app.workers.link import Kind, Link, Message
from userservice.rpc.signals import STOP_SIGNALS
from userservice.users.relayed_feed import RelayedFeed

if TYPE_CHECKING:
    from userservice.rpc import Server

HELD_BACK: Final = STOP_SIGNALS
"""Signals that wait until the worker listens to them; it is started with these blocked."""

_TAKEN_A_TURN: Final = 16

# Until it is tried again, where the system has no room: much less than a worker may leave a
# connection before it is taken for hung.
_REST_S: Final = 0.25

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker is started with.

    Args:
        number: which of the workers it is, from 1.
        settings: how to serve.
        configure_logs: makes its logs like those of the supervisor.
    """

    number: int
    settings: ServeSettings
    configure_logs: Callable[[], None]


def run(start: Start, link: socket.socket, handed: socket.socket) -> None:
    """Serve until the supervisor says so, or is gone, or SIGTERM.

    Args:
        start: what to serve.
        link: the worker's end of the link.
        handed: where connections come.
    """
    # A terminal sends SIGINT and SIGHUP to the supervisor as well, which says what to do.
    for number in STOP_SIGNALS - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    start.configure_logs()
    structlog.contextvars.bind_contextvars(worker=start.number)
    asyncio.run(_work(_own_settings(start), link, handed))


def _own_settings(start: Start) -> ServeSettings:
    if start.settings.metrics is None:
        return start.settings
    return replace(start.settings, metrics=start.settings.metrics.of_worker(start.number))


async def _work(settings: ServeSettings, link: socket.socket, handed: socket.socket) -> None:
    await _Worker(settings, handed).run(link)


class _Worker:
    def __init__(self, settings: ServeSettings, handed: socket.socket) -> None:
        self._settings = settings
        self._handed = handed
        self._leaving = asyncio.Event()
        self._ends_now = False
        self._has_room = True
        self._resting: asyncio.TimerHandle | None = None
        self._server: Server | None = None
        self._link = Link(self._told, self._cut_off)
        self._feed = RelayedFeed(self)

    async def run(self, link: socket.socket) -> None:
        """Serve until it is time to leave, and until the calls under way have ended."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._leave)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
        await self._link.connect(link)
        try:
            tls = server_tls(self._settings)
            async with wired_server(self._settings, self._feed) as server:
                await server.listen([], tls)
                self._server = server
                if not self._leaving.is_set():
                    self._handed.setblocking(False)  # noqa: FBT003  # the name of the method says it
                    loop.add_reader(self._handed, self._take)
                    self._send(Kind.READY)
                    log.info("serving", pid=os.getpid())
                await self._leaving.wait()
                log.info("stopping", drain_timeout_s=self._settings.drain_timeout_s)
                if self._ends_now:
                    server.close()
        except ServeError as error:
            self._send(Kind.FAILED, str(error).encode())
        finally:
            self._feed.cut_off()
            self._link.close()
            await self._link.closed.wait()

    def publish(self, item: bytes) -> None:
        """Send an item of the feed to everyone."""
        self._send(Kind.ITEM, item)

    def mark(self) -> None:
        """Ask for an echo."""
        self._send(Kind.MARK)

    def _send(self, kind: Kind, body: bytes = b"") -> None:
        self._link.send(Message(kind, body).encoded())

    def _told(self, message: Message) -> None:
        match message.kind:
            case Kind.ITEM:
                self._feed.deliver(message.body)
            case Kind.MARK:
                self._feed.echoed()
            case Kind.LOST:
                self._feed.lose()
            case Kind.DRAIN:
                # What was handed over before this was said is there already.
                while self._server is not None and self._take():
                    pass
                self._leave()
            case Kind.END:
                self._ends_now = True
                self._leave()
                if self._server is not None:
                    self._server.close()

    def _take(self) -> bool:
        """Take the connections that are there; whether there may be more."""
        if self._resting is not None or self._handed.fileno() < 0:
            return False
        for _ in range(_TAKEN_A_TURN):
            try:
                # The kernel drops a descriptor that there is no room for: it is not asked for.
                os.close(os.dup(self._handed.fileno()))
            except OSError as error:
                self._rest(error)
                return False
            try:
                # One byte came with each descriptor: none is read without the other.
                said, descriptors, _flags, _address = socket.recv_fds(self._handed, 1, 1)
            except BlockingIOError:
                return False
            except OSError:
                said, descriptors = b"", []
            if not said:  # the supervisor is gone; the link says so as well
                self._stop_taking()
                return False
            self._send(Kind.TOOK)
            if descriptors:
                self._has_room = True
                connection = _Connection(descriptors[0], self._closed)
                assert self._server is not None
                self._server.take(connection)
            else:
                log.warning("a connection is lost: there are too many open files")
                self._closed()
        return True

    def _rest(self, error: OSError) -> None:
        """Try again in a while: until then, what was handed over waits."""
        if self._has_room:  # said once, until a connection is taken again
            self._has_room = False
            log.warning("no connection can be taken for now", reason=error.strerror)
        self._send(Kind.FULL)
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._handed)
        self._resting = loop.call_later(_REST_S, self._rested)

    def _rested(self) -> None:
        self._resting = None
        asyncio.get_running_loop().add_reader(self._handed, self._take)

    def _closed(self) -> None:
        self._send(Kind.CLOSED)

    def _stop_taking(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
        if self._handed.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._handed)
            self._handed.close()

    def _leave(self) -> None:
        """Take no more connections, and drain; what was handed over goes to another worker."""
        if not self._leaving.is_set():
            self._leaving.set()
            self._stop_taking()
            self._send(Kind.DRAINING)

    def _cut_off(self) -> None:
        self._feed.cut_off()
        self._leave()


class _Connection(socket.socket):
    """A connection that tells, once, when it is closed: by whom it may be."""

    def __init__(self, descriptor: int, told: Callable[[], None]) -> None:
        super().__init__(fileno=descriptor)
        self._told: Callable[[], None] | None = told

    def close(self) -> None:
        super().close()
        told, self._told = self._told, None
        if told is not None:
            told()
