"""The page that a Prometheus server reads: ``/metrics``, and nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from userservice.app.telemetry.settings import TelemetryError
from userservice.rpc.middleware.histogram import Samples
from userservice.rpc.target import host_and_port, reason_of

PATH: Final = "/metrics"

_VISITORS_MAX: Final = 16  # at a time; a Prometheus server or two ask every few seconds
_REQUEST_MAX: Final = 16 * 1024  # bytes
_SAMPLES_A_TURN: Final = 50  # some 0.3 ms
_PAUSE_S: Final = 0.000_05
_PATIENCE_S: Final = 10.0  # for a whole visit; a Prometheus server waits as long

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    more: str = ""

    def encoded(self, *, with_body: bool) -> bytes:
        head = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n"
            f"Content-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\n"
            f"{self.more}Connection: close\r\n\r\n"
        )
        return head.encode("ascii") + (self.body if with_body else b"")


def _plain(status: HTTPStatus, more: str = "") -> _Answer:
    return _Answer(status, f"{status.phrase}\n".encode("ascii"), more=more)


@asynccontextmanager
async def metrics_page(
    registry: CollectorRegistry, host: str, port: int
) -> AsyncIterator[list[str]]:
    """Show the metrics for as long as the block runs; the value are the addresses bound.

    Raises:
        TelemetryError: the address cannot be listened on.
    """
    page = _Page(registry)
    try:
        server = await asyncio.start_server(page.visit, host, port, limit=_REQUEST_MAX)
    except (OSError, OverflowError) as error:  # a worker's port may be above the highest
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        raise TelemetryError(f"cannot show metrics on {host}:{port}: {reason}") from error
    try:
        yield [host_and_port(sock.getsockname()) for sock in server.sockets]
    finally:
        server.close()
        await page.close()
        await server.wait_closed()


class _Page:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._in_turns = _InTurns(registry)
        self._visits: set[asyncio.Task[None]] = set()
        self._encoding = asyncio.Lock()  # one thread at a time

    def visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a visitor, in a task of its own."""
        if len(self._visits) >= _VISITORS_MAX:
            writer.transport.abort()
            return
        visit = asyncio.create_task(self._served(reader, writer))
        self._visits.add(visit)
        visit.add_done_callback(self._visits.discard)

    async def close(self) -> None:
        """Break off the visits under way."""
        for visit in self._visits:
            visit.cancel()
        if self._visits:
            await asyncio.wait(self._visits)

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                method, answer = await self._answer(reader)
                writer.write(answer.encoded(with_body=method != b"HEAD"))
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            pass  # a visitor that dawdles, or is gone
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[bytes, _Answer]:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _version = head.partition(b"\r\n")[0].split(b" ")
        except (asyncio.LimitOverrunError, ValueError):
            return b"", _plain(HTTPStatus.BAD_REQUEST)
        if target.partition(b"?")[0] != PATH.encode("ascii"):
            return method, _plain(HTTPStatus.NOT_FOUND)
        if method not in (b"GET", b"HEAD"):
            return method, _plain(HTTPStatus.METHOD_NOT_ALLOWED, "Allow: GET, HEAD\r\n")
        async with self._encoding:
            try:
                body = await asyncio.to_thread(generate_latest, self._in_turns)
            except Exception:
                log.exception("the metrics cannot be shown")
                return method, _plain(HTTPStatus.INTERNAL_SERVER_ERROR)
        return method, _Answer(HTTPStatus.OK, body, CONTENT_TYPE_PLAIN_0_0_4)


class _InTurns(Collector):
    """Lets go of the interpreter again and again while a thread reads the metrics.

    A page of all methods and statuses takes some 40 ms. A thread that does not let go by
    itself keeps the event loop waiting for 5 ms at a time.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = Samples(partial(_paused, family.samples))
            yield family


def _paused(samples: Iterable[Sample]) -> Iterator[Sample]:
    for number, sample in enumerate(samples):
        if number % _SAMPLES_A_TURN == 0:
            time.sleep(_PAUSE_S)
        yield sample
