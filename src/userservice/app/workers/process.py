"""A worker as its supervisor sees it: a process, its link, and the connections that it has."""

import asyncio
import contextlib
import enum
import math
import multiprocessing
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from userservice.app.serve import ServeSettings
from userservice.app.workers import worker
from userservice.app.workers.handover import Ledger
from userservice.app.workers.link import Kind, Link, Message

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess


_HUNG_S: Final = 30.0  # how long it may leave a connection that it was handed
_LAST_WORDS_S: Final = 5.0  # from the end of its link to that of the process

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Handed:
    """A connection, and when the worker was handed it."""

    sock: socket.socket
    since: float


class Owner(Protocol):
    """Who has the worker, and is told of what happens."""

    def publish(self, item: bytes) -> None:
        """Send an encoded item of the feed to every worker."""
        ...

    def deal(self, again: Sequence[socket.socket] = ()) -> None:
        """Give connections to those who have room, first these, which nobody took."""
        ...

    def ready(self) -> None:
        """Note that a worker takes connections now."""
        ...

    def gone(self, process: "WorkerProcess") -> None:
        """Note that a process has ended, and all that it said was heard."""
        ...


class _State(enum.Enum):
    STARTING = enum.auto()
    READY = enum.auto()
    LEAVING = enum.auto()
    """It takes no more connections, and ends when its calls have ended."""
    LOST = enum.auto()
    """Its link is gone, without a word."""


class WorkerProcess:
    """One process, from its start to its end."""

    def __init__(self, number: int, owner: Owner) -> None:
        self.number = number
        self.ledger: Ledger[_Handed] = Ledger()
        self.left = asyncio.Event()
        """Set when it takes no more connections: it drains, or has ended."""
        self.error: str | None = None
        """Why it cannot serve with these settings."""
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._state = _State.STARTING
        self._ready_at: float | None = None
        self._full_at = -math.inf
        self._link = Link(self._told, self._link_lost)
        self._handing: socket.socket | None = None
        self._process: SpawnProcess | None = None
        self.pid: int | None = None
        self._ended = False
        self._status: int | None = None
        self._alarm: asyncio.TimerHandle | None = None

    async def start(self, settings: ServeSettings, configure_logs: Callable[[], None]) -> None:
        """Start the process.

        Raises:
            OSError: the system has no room for it.
        """
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            link, its_link = socket.socketpair()
            ours.enter_context(link)
            theirs.enter_context(its_link)
            handing, handed = socket.socketpair()
            ours.enter_context(handing)
            theirs.enter_context(handed)
            # The settings go through a pipe: a command line would show them to everyone.
            process = multiprocessing.get_context("spawn").Process(
                target=worker.run,
                args=(worker.Start(self.number, settings, configure_logs), its_link, handed),
                daemon=True,  # it is ended should this process fail
            )
            # It inherits what is blocked: no signal ends it with a traceback before it
            # listens to them. The tracker comes first, because its start unblocks them.
            resource_tracker.ensure_running()
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, worker.HELD_BACK)
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            ours.pop_all()
        handing.settimeout(0)
        self._handing, self._process, self.pid = handing, process, process.pid
        self._loop.add_reader(process.sentinel, self._process_ended)
        await self._link.connect(link)

    @property
    def takes(self) -> bool:
        """Whether connections may be given to it."""
        return self._state is _State.READY

    @property
    def served(self) -> bool:
        """Whether it ever took connections, and so may have listeners to the feed."""
        return self._ready_at is not None

    @property
    def served_s(self) -> float:
        """How long ago it began to serve, in seconds."""
        return 0.0 if self._ready_at is None else self._loop.time() - self._ready_at

    @property
    def died(self) -> bool:
        """Whether it ended without having drained."""
        return self._ended and not (self._state is _State.LEAVING and self._status == 0)

    @property
    def ended_with(self) -> str:
        """How it ended, in words: the name of a signal, or its status."""
        if self._status is not None and self._status < 0:
            with contextlib.suppress(ValueError):
                return signal.Signals(-self._status).name
        return f"status {self._status}"

    def send(self, message: bytes) -> None:
        """Send it an encoded message."""
        self._link.send(message)

    def hand(self, connection: socket.socket, turn: int) -> bool:
        """Hand it a connection; False where that cannot be done now.

        The connection is closed here when the worker has told that it took it.
        """
        assert self._handing is not None
        try:
            socket.send_fds(self._handing, [b"."], [connection.fileno()])
        except OSError:
            return False
        self.ledger.handed(_Handed(connection, self._loop.time()), turn)
        if self._alarm is None:
            self._alarm = self._loop.call_later(_HUNG_S, self._look_for_oldest)
        return True

    def _look_for_oldest(self) -> None:
        self._alarm = None
        oldest = self.ledger.oldest
        if oldest is None:
            return
        rest_s = max(oldest.since, self._full_at) + _HUNG_S - self._loop.time()
        if rest_s > 0:
            self._alarm = self._loop.call_later(rest_s, self._look_for_oldest)
        else:
            self._kill_hung()

    def _kill_hung(self) -> None:
        log.error("a worker hangs, and is killed", worker=self.number, pid=self.pid)
        self.kill()

    def kill(self) -> None:
        """End the process at once, where it has not ended."""
        if self._process is not None and not self._ended:
            self._process.kill()

    def _told(self, message: Message) -> None:
        match message.kind:
            case Kind.TOOK:
                self.ledger.took().sock.close()
                self._owner.deal()
            case Kind.CLOSED:
                self.ledger.closed()
            case Kind.FULL:
                self._full_at = self._loop.time()
            case Kind.ITEM:
                self._owner.publish(message.encoded())
            case Kind.MARK:
                self.send(message.encoded())
            case Kind.READY:
                self._state = _State.READY
                self._ready_at = self._loop.time()
                self._owner.ready()
            case Kind.FAILED:
                self.error = message.body.decode()
            case Kind.DRAINING:
                self._state = _State.LEAVING
                self._take_back()

    def _take_back(self) -> None:
        """It takes no more: what it was handed and did not take is another's."""
        if self._alarm is not None:
            self._alarm.cancel()
        self.left.set()
        self._owner.deal([handed.sock for handed in self.ledger.not_taken()])

    def _link_lost(self) -> None:
        if self._state is not _State.LEAVING:
            self._state = _State.LOST
        if self._link.overrun:
            self._kill_hung()
        else:
            self._loop.call_later(_LAST_WORDS_S, self.kill)
        self._settle()

    def _process_ended(self) -> None:
        assert self._process is not None
        self._loop.remove_reader(self._process.sentinel)
        self._process.join()
        self._status = self._process.exitcode
        self._process.close()
        self._ended = True
        self._settle()

    def _settle(self) -> None:
        """Go on when all that it said was heard, and nobody has its connections any more."""
        if self._ended and self._link.closed.is_set():
            assert self._handing is not None
            self._handing.close()
            self._owner.gone(self)
            self._take_back()
