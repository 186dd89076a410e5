"""Where spans go: to a collector, over HTTP, from a thread that calls never wait for."""

import asyncio
import logging
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import structlog
from opentelemetry import trace

from userservice.app.telemetry.settings import TelemetryError, TracingSettings
from userservice.rpc.middleware import Middleware
from userservice.rpc.middleware.tracing import ServerTracing
from userservice.rpc.server import Service
from userservice.users.storage.observer import Commit, Operation, StorageObserver

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_NOT_INSTALLED: Final = "traces need what pip install 'userservice[otlp]' brings"
_TRACES_PATH: Final = "/v1/traces"  # OTLP over HTTP, "OTLP/HTTP Request"
_COMPLAIN_EVERY_S: Final = 10.0
_FLUSH_S: Final = 5.0  # for the last spans to reach the collector

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class _Seldom(logging.Filter):
    """Lets one line pass, and the next one some seconds later.

    A collector that refuses refuses every batch, and there may be many in a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self._next_at = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        del record
        now = time.monotonic()
        if now < self._next_at:
            return False
        self._next_at = now + _COMPLAIN_EVERY_S
        return True


_SELDOM: Final = _Seldom()


def traces(settings: TracingSettings) -> "Traces | None":
    """Begin to trace; None where OpenTelemetry's variables ask for it, and it is not installed.

    Raises:
        TelemetryError: our own settings ask for it, and it is not installed, or what
            OpenTelemetry's variables say cannot be used.
    """
    try:
        exporter = _exporter(settings.endpoint)
        provider = _provider(settings.ratio, exporter)
    except ImportError as error:
        if settings.endpoint is not None:
            raise TelemetryError(_NOT_INSTALLED) from error
        # Who set the variables for all programs of a machine must not stop this one.
        log.warning(_NOT_INSTALLED)
        return None
    except ValueError as error:
        raise TelemetryError(f"calls cannot be traced: {error}") from error
    return Traces(provider, exporter)


def _exporter(endpoint: str | None) -> "SpanExporter":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  # an extra
        OTLPSpanExporter,
    )

    if endpoint is not None and not endpoint.endswith(_TRACES_PATH):
        endpoint = endpoint.rstrip("/") + _TRACES_PATH
    complaints = logging.getLogger(OTLPSpanExporter.__module__)
    complaints.setLevel(logging.ERROR)  # it warns of each try; that a batch is lost is an error
    complaints.addFilter(_SELDOM)
    return OTLPSpanExporter(endpoint)


def _provider(ratio: float | None, exporter: "SpanExporter") -> "TracerProvider":
    from opentelemetry.sdk.resources import (  # noqa: PLC0415  # an extra
        SERVICE_NAME,
        SERVICE_VERSION,
        OTELResourceDetector,
        Resource,
    )
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415

    ours = Resource({SERVICE_NAME: "userservice", SERVICE_VERSION: version("userservice")})
    provider = TracerProvider(
        sampler=None if ratio is None else ParentBasedTraceIdRatio(ratio),
        resource=Resource.create().merge(ours).merge(OTELResourceDetector().detect()),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class Traces:
    """The spans of a process, on their way to a collector.

    Args:
        provider: where they come from.
        exporter: what sends them.
    """

    def __init__(self, provider: "TracerProvider", exporter: "SpanExporter") -> None:
        self._provider = provider
        self._exporter = exporter
        self.storage = StorageSpans(provider)

    def middleware(self, services: Collection[Service]) -> Middleware:
        """Return what traces the calls of these services."""
        return ServerTracing(services, self._provider)

    async def close(self) -> None:
        """Send what is left; give up soon where nobody takes it."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop waited no longer, and is closed
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=shut_down, name="last-spans", daemon=True).start()
        try:
            async with asyncio.timeout(_FLUSH_S):
                await sent.wait()
        except TimeoutError:
            log.warning("the last spans are lost: the collector does not take them")
            self._exporter.shutdown()  # or a try under way would go on


class StorageSpans(StorageObserver):
    """A span for each operation of the storage, below that of the call that asks for it.

    Args:
        provider: where spans come from.
    """

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._tracer = trace.get_tracer("userservice.storage", tracer_provider=provider)

    @contextmanager
    def around(self, operation: Operation) -> Iterator[None]:
        """Trace an operation; not one that no traced call asks for, such as those of health."""
        if not trace.get_current_span().is_recording():
            yield
            return
        attributes = {"db.system.name": "sqlite", "db.operation.name": operation.value}
        with self._tracer.start_as_current_span(f"sqlite {operation.value}", attributes=attributes):
            yield

    def committed(self, commit: Commit) -> None:
        """Transactions have no spans: each has the writes of many calls."""
