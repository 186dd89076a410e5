"""grpcio's asyncio server with constant handlers, and interceptors that do what ours do.

Each is written as one writes it with the usual library: PyJWT, structlog, prometheus_client and
OpenTelemetry's SDK. What can be looked up once, is.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import grpc
import jwt
import structlog
import user_service_pb2_grpc
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import Counter, Histogram
from tests.bench.servers import everything
from tests.bench.servers.grpcio_aio import Constant

from userservice.rpc.middleware.histogram import LATENCY_BOUNDS, SIZE_BOUNDS

Behaviour = Callable[[Any, Any], Awaitable[Any]]

SUBJECT: ContextVar[str | None] = ContextVar("subject", default=None)


class UnaryInterceptor(grpc.aio.ServerInterceptor):
    """Stands around every unary call; the benchmark makes no others."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Return the handler with this around it."""
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        inner: Behaviour = handler.unary_unary

        async def behaviour(request: Any, context: Any) -> Any:
            return await self.around(details, inner, request, context)

        return grpc.unary_unary_rpc_method_handler(
            behaviour, handler.request_deserializer, handler.response_serializer
        )

    async def around(self, details: Any, inner: Behaviour, request: Any, context: Any) -> Any:
        """Do the call."""
        raise NotImplementedError


class Tracing(UnaryInterceptor):
    """A span for each call that is sampled, with an event for each message."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("bench", tracer_provider=everything.tracer_provider())
        self._w3c = TraceContextTextMapPropagator()

    async def around(self, details: Any, inner: Behaviour, request: Any, context: Any) -> Any:
        """Do the call in its span."""
        metadata = dict(details.invocation_metadata)
        parent = self._w3c.extract(metadata) if "traceparent" in metadata else None
        service, _, method = details.method[1:].rpartition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        with self._tracer.start_as_current_span(
            details.method[1:], parent, trace.SpanKind.SERVER, attributes
        ) as span:
            recording = span.is_recording()
            if recording:
                host, _, port = context.peer().rpartition(":")
                span.set_attributes({"client.address": host, "client.port": int(port)})
                span.add_event("message", {"rpc.message.type": "RECEIVED", "rpc.message.id": 1})
            reply = await inner(request, context)
            if recording:
                span.add_event("message", {"rpc.message.type": "SENT", "rpc.message.id": 1})
                span.set_attribute("rpc.grpc.status_code", 0)
            return reply


class AccessLog(UnaryInterceptor):
    """A line for each call, and a name for it that the client hears too."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()

    async def around(self, details: Any, inner: Behaviour, request: Any, context: Any) -> Any:
        """Do the call, and tell of it."""
        began = time.perf_counter()
        metadata = dict(details.invocation_metadata)
        request_id = metadata.get("x-request-id") or f"{random.getrandbits(64):016x}"
        context.set_trailing_metadata((("x-request-id", request_id),))
        structlog.contextvars.bind_contextvars(request_id=request_id)
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            structlog.contextvars.bind_contextvars(
                trace_id=f"{span.trace_id:032x}", span_id=f"{span.span_id:016x}"
            )
        reply, status = None, grpc.StatusCode.UNKNOWN
        try:
            reply = await inner(request, context)
            status = grpc.StatusCode.OK
        finally:
            if reply is None:
                status = context.code() or status
            self._log.info(
                "call",
                method=details.method,
                status=status.name,
                duration_ms=round((time.perf_counter() - began) * 1_000, 3),
                received=1,
                received_bytes=request.ByteSize(),
                sent=int(reply is not None),
                sent_bytes=0 if reply is None else reply.ByteSize(),
                peer=context.peer(),
                subject=SUBJECT.get(),
                subject_kind="user",
                user_agent=metadata.get("user-agent"),
            )
        return reply


class Metrics(UnaryInterceptor):
    """The four instruments of gRFC A66 for a server."""

    def __init__(self) -> None:
        labels = ("grpc_method", "grpc_status")
        self._started = Counter("grpc_server_call_started", "Calls.", ("grpc_method",))
        self._duration = Histogram(
            "grpc_server_call_duration_seconds", "Time.", labels, buckets=LATENCY_BOUNDS
        )
        self._sent = Histogram("grpc_server_call_sent", "Sizes.", labels, buckets=SIZE_BOUNDS)
        self._received = Histogram("grpc_server_call_rcvd", "Sizes.", labels, buckets=SIZE_BOUNDS)
        self._known: dict[str, Any] = {}
        self._ended: dict[tuple[str, str], tuple[Any, Any, Any]] = {}

    async def around(self, details: Any, inner: Behaviour, request: Any, context: Any) -> Any:
        """Do the call, and count it."""
        method = details.method
        began = time.perf_counter()
        started = self._known.get(method)
        if started is None:
            started = self._known[method] = self._started.labels(method)
        started.inc()
        reply, status = None, "UNKNOWN"
        try:
            reply = await inner(request, context)
            status = "OK"
        finally:
            ended = self._ended.get((method, status))
            if ended is None:
                instruments = (self._duration, self._sent, self._received)
                duration, sent, received = (one.labels(method, status) for one in instruments)
                ended = self._ended[method, status] = (duration, sent, received)
            ended[0].observe(time.perf_counter() - began)
            ended[1].observe(0 if reply is None else reply.ByteSize())
            ended[2].observe(request.ByteSize())
        return reply


class Authentication(UnaryInterceptor):
    """Tokens that PyJWT verifies, and that are known until they expire."""

    def __init__(self) -> None:
        self._verified: dict[str, dict[str, Any]] = {}

    async def around(self, details: Any, inner: Behaviour, request: Any, context: Any) -> Any:
        """Find out who calls, or refuse the call."""
        value = dict(details.invocation_metadata).get("authorization", "")
        scheme, _, given = value.partition(" ")
        token = given if scheme.lower() == "bearer" else ""  # which is no token
        claims = self._verified.get(token)
        if claims is None or claims["exp"] <= time.time():
            self._verified.pop(token, None)
            try:
                claims = jwt.decode(
                    token,
                    everything.KEY,
                    ["HS256"],
                    issuer=everything.ISSUER,
                    audience=everything.AUDIENCE,
                )
            except jwt.InvalidTokenError as error:
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
                raise
            self._verified[token] = claims
        SUBJECT.set(claims["sub"])
        return await inner(request, context)


class RateLimits(UnaryInterceptor):
    """A token bucket for each subject."""

    def __init__(self) -> None:
        self._buckets: dict[str | None, tuple[float, float]] = {}

    async def around(self, details: Any, inner: Behaviour, request: Any, context: Any) -> Any:
        """Count the call, or refuse it."""
        subject, now = SUBJECT.get(), time.monotonic()
        left, at = self._buckets.get(subject, (everything.BURST, now))
        left = min(everything.BURST, left + (now - at) * everything.PER_S)
        if left < 1:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls")
        self._buckets[subject] = (left - 1, now)
        return await inner(request, context)


def log_to_stderr() -> None:
    """Let structlog write JSON lines, in the quickest way that its documentation tells."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


async def main() -> None:
    """Serve until the process is ended."""
    log_to_stderr()
    server = grpc.aio.server(
        # The first is the outermost.
        interceptors=[Tracing(), AccessLog(), Metrics(), Authentication(), RateLimits()]
    )
    user_service_pb2_grpc.add_UserServiceServicer_to_server(Constant(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print("READY", port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
