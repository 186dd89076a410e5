"""The supervisor of several workers: it accepts, hands connections on, and keeps workers alive.

It owns the listening sockets. A connection goes to the worker that has the fewest, so that
all have their share, and nothing that waits is lost with a worker. It is also the hub of the
change feed.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from userservice.app import systemd
from userservice.app.errors import ServeError
from userservice.app.serve import ServeSettings, listening_sockets
from userservice.app.workers.link import Kind, Message
from userservice.app.workers.process import WorkerProcess
from userservice.app.workers.restarts import Backoff
from userservice.rpc import stop_signals
from userservice.rpc.listening import Listening, address_of
from userservice.rpc.target import reason_of
from userservice.users.storage.urls import is_in_memory

_GRACE_S: Final = 5.0  # how long workers may take to end, beyond the calls that they drain
_AGAIN_S: Final = 0.05  # until a connection is handed over again, where that failed
# systemd tells every process of a service to stop, and the supervisor may hear of it last:
# a worker that leaves then must not be replaced.
_LEFT_ALONE_S: Final = 0.2

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def serve_with_workers(
    settings: ServeSettings,
    ready: Callable[[Sequence[str]], None],
    configure_logs: Callable[[], None],
) -> None:
    """Serve with several processes until SIGTERM or SIGINT; then all of them drain.

    Args:
        settings: how to serve.
        ready: called with the addresses bound, as soon as every worker takes calls.
        configure_logs: makes the logs of a worker; it is pickled.

    Raises:
        ServeError: the database or the address cannot be used.
    """
    if is_in_memory(settings.database):
        raise ServeError(
            "a database in memory is kept by one process: with more workers, use sqlite:///PATH"
        )
    with stop_signals() as stop, listening_sockets(settings) as sockets:
        supervisor = Supervisor(settings, configure_logs, sockets)
        stop.now = supervisor.end_now
        await supervisor.run(stop.asked, ready)


class Supervisor:
    """Keeps as many workers as the settings say.

    Args:
        settings: how to serve.
        configure_logs: makes the logs of a worker.
        sockets: what to accept connections on; they are closed in the end.
    """

    def __init__(
        self,
        settings: ServeSettings,
        configure_logs: Callable[[], None],
        sockets: Sequence[socket.socket],
    ) -> None:
        self._settings = settings
        self._configure_logs = configure_logs
        self._addresses = [address_of(sock) for sock in sockets]
        self._loop = asyncio.get_running_loop()
        self._listening = Listening(self._accepted)
        self._listening.pause()
        for sock in sockets:
            self._listening.add(sock)
        self._processes: set[WorkerProcess] = set()
        self._waiting: deque[socket.socket] = deque()
        self._turn = 0
        self._started: asyncio.Future[str | None] = self._loop.create_future()
        """Why the start failed; None where every worker is ready."""
        self._one_gone = asyncio.Event()
        self._stopping = False
        self._draining = False
        self._drained = False
        self._ends_now = False
        self._deadline: asyncio.Timeout | None = None

    async def run(self, stop: asyncio.Event, ready: Callable[[Sequence[str]], None]) -> None:
        """Start the workers, keep them until it is time to stop, and let them drain.

        Raises:
            ServeError: a worker cannot serve with these settings.
        """
        error: str | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                keepers = [
                    tasks.create_task(self._keep(number + 1))
                    for number in range(self._settings.workers)
                ]
                stopped = tasks.create_task(stop.wait())
                await asyncio.wait((self._started, stopped), return_when=asyncio.FIRST_COMPLETED)
                if self._started.done():
                    error = self._started.result()
                if self._started.done() and error is None:
                    ready(self._addresses)
                    log.info("serving", addresses=self._addresses, workers=len(keepers))
                    async with systemd.announced(f"serving on {', '.join(self._addresses)}"):
                        await stopped
                    log.info("stopping", drain_timeout_s=self._settings.drain_timeout_s)
                self._stopping = True
                for task in (*keepers, stopped):
                    task.cancel()
            self._listening.close()
            if error is not None:
                self.end_now()
            await self._end()
        finally:
            self._listening.close()
            for process in self._processes:
                process.kill()
            for connection in self._waiting:
                connection.close()
        if error is not None:
            raise ServeError(error)

    async def _keep(self, number: int) -> None:
        """Keep one worker running: start it again whenever it leaves or dies."""
        backoff = Backoff()
        while True:
            process = WorkerProcess(number, self)
            self._processes.add(process)
            try:
                await process.start(self._settings, self._configure_logs)
            except OSError as error:
                self._processes.discard(process)
                self._fails(f"a worker cannot be started: {reason_of(error)}", worker=number)
                await asyncio.sleep(backoff.wait_s(0))
                continue
            await process.left.wait()
            await asyncio.sleep(backoff.wait_s(process.served_s) if process.died else _LEFT_ALONE_S)

    def _fails(self, what: str, **about: object) -> None:
        """Note a fault: the first start fails with it; later, it is logged and tried again."""
        if self._stopping:
            return
        if not self._started.done():
            self._started.set_result(what)
        elif self._started.result() is None:
            log.error(what, **about)

    async def _end(self) -> None:
        """Wait until all have drained; kill those that take too long."""
        self._draining = True
        self.deal()
        drain_s = 0.0 if self._ends_now else self._settings.drain_timeout_s
        try:
            async with asyncio.timeout(drain_s + _GRACE_S) as self._deadline:
                await self._until_all_gone()
        except TimeoutError:
            for process in self._processes:
                log.error("a worker does not end, and is killed", worker=process.number)  # noqa: TRY400
                process.kill()
            await self._until_all_gone()
        finally:
            self._deadline = None

    async def _until_all_gone(self) -> None:
        while self._processes:
            self._one_gone.clear()
            await self._one_gone.wait()

    def end_now(self) -> None:
        """Let every worker end its calls at once."""
        self._send_all(Message(Kind.END).encoded())
        self._drained = self._ends_now = True
        if self._deadline is not None:
            self._deadline.reschedule(self._loop.time() + _GRACE_S)

    def _send_all(self, message: bytes) -> None:
        for process in self._processes:
            process.send(message)

    def _accepted(self, sock: socket.socket) -> None:
        self._waiting.append(sock)
        self.deal()

    def deal(self, again: Sequence[socket.socket] = ()) -> None:
        """Give connections to those who have room, first these, which nobody took."""
        self._waiting.extendleft(reversed(again))
        takers = self._takers()
        while self._waiting and takers:
            taker = min(takers, key=lambda process: process.ledger.rank)
            self._turn += 1
            if not taker.hand(self._waiting[0], self._turn):
                takers = []
                self._loop.call_later(_AGAIN_S, self.deal)
                break
            self._waiting.popleft()
            takers = self._takers()
        if takers:
            self._listening.go_on()
        else:
            # What comes now waits in the queues of the sockets.
            self._listening.pause()
        if self._draining:
            self._drain()

    def _drain(self) -> None:
        """Let every worker drain, once all that was accepted is handed over."""
        if self._waiting and any(process.takes for process in self._processes):
            return
        # Nobody will take these: their clients go elsewhere at once.
        while self._waiting:
            self._waiting.popleft().close()
        if not self._drained:
            self._drained = True
            self._send_all(Message(Kind.DRAIN).encoded())

    def _takers(self) -> list[WorkerProcess]:
        return [process for process in self._processes if process.takes and process.ledger.has_room]

    def publish(self, item: bytes) -> None:
        """Send an encoded item of the feed to every worker."""
        for process in self._processes:
            if process.served:
                process.send(item)

    def ready(self) -> None:
        """Note that a worker takes connections now."""
        ready = sum(process.takes for process in self._processes)
        if ready == self._settings.workers and not self._started.done():
            self._started.set_result(None)
        self.deal()

    def gone(self, process: WorkerProcess) -> None:
        """Note that a process has ended, and all that it said was heard."""
        self._processes.discard(process)
        if process.died:
            self._fails(
                process.error or f"a worker ended with {process.ended_with}",
                worker=process.number,
                pid=process.pid,
            )
            self.publish(Message(Kind.LOST).encoded())
        self._one_gone.set()
