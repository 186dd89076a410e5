"""Metrics and traces, from the opening of the storage to the end of the last call."""

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from userservice.app.telemetry.settings import MetricsSettings, TracingSettings
from userservice.rpc import Server
from userservice.rpc.middleware import Middleware
from userservice.rpc.server import Service
from userservice.users.storage.observer import Commit, Operation, StorageObserver

if TYPE_CHECKING:
    from userservice.app.telemetry.meters import Meters
    from userservice.app.telemetry.tracing import Traces


class Telemetry:
    """What is told of a server and its storage; nothing, where nothing was asked for.

    Args:
        meters: what is measured.
        traces: where spans go.
    """

    def __init__(self, meters: "Meters | None", traces: "Traces | None") -> None:
        self._meters = meters
        self._traces = traces

    @property
    def storage(self) -> StorageObserver | None:
        """Who observes the storage."""
        observers = [part.storage for part in (self._traces, self._meters) if part is not None]
        return _Observers(observers) if len(observers) > 1 else next(iter(observers), None)

    def tracing(self, services: Collection[Service]) -> list[Middleware]:
        """Return the middleware that traces these services: the outermost."""
        return [] if self._traces is None else [self._traces.middleware(services)]

    def metrics(self, services: Collection[Service]) -> list[Middleware]:
        """Return the middleware that measures them: outside of all that may refuse a call."""
        return [] if self._meters is None else [self._meters.middleware(services)]

    @asynccontextmanager
    async def shown(self, server: Server) -> AsyncIterator[None]:
        """Show the metrics for as long as the block runs.

        Raises:
            TelemetryError: the page cannot be shown there.
        """
        if self._meters is None:
            yield
        else:
            async with self._meters.shown(server):
                yield


@asynccontextmanager
async def telemetry(
    metrics: MetricsSettings | None, tracing: TracingSettings | None
) -> AsyncIterator[Telemetry]:
    """Begin to measure and to trace; at the end, the last spans are sent.

    Args:
        metrics: where metrics are shown; None for nowhere.
        tracing: which calls are traced; None for none.

    Raises:
        TelemetryError: what was asked for cannot be had.
    """
    meters = traces = None
    if metrics is not None:
        from userservice.app.telemetry.meters import Meters  # noqa: PLC0415  # prometheus_client

        meters = Meters(metrics)
    if tracing is not None:
        from userservice.app.telemetry import tracing as opentelemetry  # noqa: PLC0415

        traces = opentelemetry.traces(tracing)
    try:
        yield Telemetry(meters, traces)
    finally:
        if traces is not None:
            await traces.close()


class _Observers(StorageObserver):
    """Several observers as one, the outermost first."""

    def __init__(self, observers: Sequence[StorageObserver]) -> None:
        self._observers = observers

    @contextmanager
    def around(self, operation: Operation) -> Iterator[None]:
        with ExitStack() as stack:
            for observer in self._observers:
                stack.enter_context(observer.around(operation))
            yield

    def committed(self, commit: Commit) -> None:
        for observer in self._observers:
            observer.committed(commit)
