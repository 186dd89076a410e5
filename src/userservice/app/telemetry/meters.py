"""What is measured in one process: calls, connections, the event loop, the storage, itself."""

import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from importlib.metadata import version
from types import TracebackType
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from userservice.app.telemetry.page import metrics_page
from userservice.app.telemetry.settings import MetricsSettings
from userservice.rpc import Server
from userservice.rpc.loop_lag import measured_lag
from userservice.rpc.middleware import Middleware
from userservice.rpc.middleware.histogram import (
    COUNT_BOUNDS,
    LATENCY_BOUNDS,
    Histogram,
    histogram_family,
)
from userservice.rpc.middleware.metrics import ServerMetrics
from userservice.rpc.server import Service
from userservice.users.storage.observer import Commit, Operation, StorageObserver

_LAG_EVERY_S: Final = 0.1

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Meters:
    """All that is measured, and the page that shows it.

    Args:
        settings: where the page is.
    """

    def __init__(self, settings: MetricsSettings) -> None:
        self._settings = settings
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self.storage = StorageMetrics()
        self._registry.register(self.storage)

    def middleware(self, services: Collection[Service]) -> Middleware:
        """Return what measures the calls of these services."""
        calls = ServerMetrics(services)
        self._registry.register(calls)
        return calls

    @asynccontextmanager
    async def shown(self, server: Server) -> AsyncIterator[None]:
        """Show the metrics for as long as the block runs, those of this server among them.

        Raises:
            TelemetryError: the address cannot be listened on.
        """
        # A pause of the loop is noted as often as it is long: the share of a bucket is the share
        # of the time in which whatever comes has to wait so long.
        lag = Histogram(LATENCY_BOUNDS)
        self._registry.register(_Process(server, lag))
        with measured_lag(_LAG_EVERY_S, lag.observe):
            async with metrics_page(
                self._registry, self._settings.host, self._settings.port
            ) as addresses:
                log.info("metrics", addresses=addresses)
                yield


class _Process(Collector):
    """The server's connections, the event loop, and what program this is."""

    def __init__(self, server: Server, lag: Histogram) -> None:
        self._server = server
        self._lag = lag
        self._version = version("userservice")

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("userservice", "The program.", {"version": self._version})
        yield GaugeMetricFamily(
            "userservice_connections", "The connections now.", self._server.open_connections
        )
        yield CounterMetricFamily(
            "userservice_connections_made",
            "The connections that there were.",
            self._server.connections_made,
        )
        yield CounterMetricFamily(
            "userservice_connections_refused",
            "The connections that were more than the limit allows.",
            self._server.connections_refused,
        )
        yield histogram_family(
            "userservice_loop_lag_seconds",
            "How much later than it should a timer fires on the event loop.",
            [],
            lambda: [([], self._lag)],
        )


class StorageMetrics(StorageObserver, Collector):
    """Measures the storage."""

    def __init__(self) -> None:
        self._operations = {operation: _Operations() for operation in Operation}
        self._commit_s = Histogram(LATENCY_BOUNDS)
        self._commit_writes = Histogram(COUNT_BOUNDS)

    def around(self, operation: Operation) -> AbstractContextManager[None]:
        """Measure an operation."""
        return _Timed(self._operations[operation])

    def committed(self, commit: Commit) -> None:
        """Measure a transaction."""
        self._commit_s.observe(commit.duration_s)
        self._commit_writes.observe(commit.writes)

    def collect(self) -> Iterator[Metric]:
        """Return what was measured."""
        by_label = {
            operation.value.replace(" ", "_"): operations
            for operation, operations in self._operations.items()
        }
        yield histogram_family(
            "userservice_storage_operation_duration_seconds",
            "From an operation's begin to its end, with what it waits for.",
            ["operation"],
            lambda: [([label], operations.durations) for label, operations in by_label.items()],
        )
        under_way = GaugeMetricFamily(
            "userservice_storage_operations_under_way",
            "The operations that have begun, and not ended; writes wait for a transaction.",
            labels=["operation"],
        )
        for label, operations in by_label.items():
            under_way.add_metric([label], operations.under_way)
        yield under_way
        yield histogram_family(
            "userservice_storage_commit_duration_seconds",
            "How long a transaction takes, to the disk and back.",
            [],
            lambda: [([], self._commit_s)],
        )
        yield histogram_family(
            "userservice_storage_commit_writes",
            "How many writes share a transaction.",
            [],
            lambda: [([], self._commit_writes)],
        )


class _Operations:
    """The operations of one kind."""

    __slots__ = ("durations", "under_way")

    def __init__(self) -> None:
        self.durations = Histogram(LATENCY_BOUNDS)
        self.under_way = 0


class _Timed(AbstractContextManager[None]):
    """One operation."""

    __slots__ = ("_began_at", "_operations")

    def __init__(self, operations: _Operations) -> None:
        self._operations = operations
        self._began_at = time.perf_counter()

    def __enter__(self) -> None:
        self._operations.under_way += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._operations.under_way -= 1
        self._operations.durations.observe(time.perf_counter() - self._began_at)
