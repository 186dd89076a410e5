"""Traces of calls with OpenTelemetry: spans by its conventions, the W3C's context in and out.

Where the spans go is the provider's business; without one, contexts are handed on all the same.
"""

import logging
from collections.abc import Collection
from contextlib import AbstractContextManager
from functools import lru_cache
from types import TracebackType
from typing import Any, Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter, Setter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from userservice.rpc.call import Call
from userservice.rpc.client_call import ClientCall
from userservice.rpc.errors import Metadata
from userservice.rpc.middleware import ClientMiddleware, Middleware, Outcome
from userservice.rpc.server import Service
from userservice.rpc.target import parse_target

__all__ = ["ClientTracing", "ServerTracing"]

UNKNOWN_METHOD: Final = "_OTHER"
"""The span's name where nobody serves the method: its own is the client's, and may be any."""

# Semantic conventions for gRPC: the others are the client's own fault.
_SERVER_ERRORS: Final = frozenset(
    {
        Status.UNKNOWN,
        Status.DEADLINE_EXCEEDED,
        Status.UNIMPLEMENTED,
        Status.INTERNAL,
        Status.UNAVAILABLE,
        Status.DATA_LOSS,
    }
)
_CLIENT_ERRORS: Final = frozenset(Status) - {Status.OK}
_SCOPE: Final = "userservice.rpc"
_W3C: Final = TraceContextTextMapPropagator()
_NOTHING: Final = Context()

# They warn of every context that is none, with its text: a client could fill the log.
for _name in ("opentelemetry.trace.span", "opentelemetry.trace.propagation.tracecontext"):
    logging.getLogger(_name).setLevel(logging.ERROR)

_Attributes = dict[str, AttributeValue]


class _Fields(Getter[Metadata], Setter[Metadata]):
    """Lets the context be read from metadata, and be written there."""

    def get(self, carrier: Metadata, key: str) -> list[str] | None:
        values = carrier.getall(key, None)
        return None if values is None else [value for value in values if isinstance(value, str)]

    def keys(self, carrier: Metadata) -> list[str]:
        return list(carrier)

    def set(self, carrier: Metadata, key: str, value: str) -> None:
        carrier[key] = value


_FIELDS: Final = _Fields()


class _Traced(AbstractContextManager[None]):
    """A call with its span; while it is entered, the span is the current one."""

    __slots__ = ("_token", "error", "received", "sent", "span", "within")

    def __init__(self, span: trace.Span, within: Context) -> None:
        self.span = span
        self.within = within
        self.error: BaseException | None = None
        self.received = self.sent = 0

    def __enter__(self) -> None:
        self._token = context.attach(self.within)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        context.detach(self._token)
        self.error = error

    def tell_received(self) -> None:
        self.received += 1
        self.span.add_event("message", _message("RECEIVED", self.received))

    def tell_sent(self) -> None:
        self.sent += 1
        self.span.add_event("message", _message("SENT", self.sent))

    def end(self, outcome: Outcome, errors: frozenset[Status]) -> None:
        span = self.span
        span.set_attribute("rpc.grpc.status_code", outcome.status.value)
        if outcome.status in errors:
            span.set_status(trace.StatusCode.ERROR, outcome.message)
            # What has a status says all by that; anything else nobody expected.
            if isinstance(self.error, Exception) and not isinstance(self.error, GRPCError):
                span.record_exception(self.error)
        span.end()


def _message(kind: str, number: int) -> _Attributes:
    return {"rpc.message.type": kind, "rpc.message.id": number}


class ServerTracing(Middleware):
    """A span for each call of a server, below the client's; current while the call is served.

    Args:
        services: those that are served; the calls of other methods share a name.
        provider: where spans come from; None for the program's own, if there is one.
    """

    def __init__(
        self, services: Collection[Service], provider: trace.TracerProvider | None = None
    ) -> None:
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=provider)
        self._methods = {path for service in services for path in service.__mapping__()}
        self._calls: dict[Call, _Traced] = {}

    def around(self, call: Call) -> AbstractContextManager[None]:
        """Begin the span, and make it the current one."""
        parent = _NOTHING
        if "traceparent" in call.metadata:
            parent = _W3C.extract(call.metadata, _NOTHING, _FIELDS)
        known = call.method in self._methods
        span = self._tracer.start_span(
            call.method[1:] if known else UNKNOWN_METHOD,
            parent,
            trace.SpanKind.SERVER,
            _of_method(call.method) if known else _OF_OTHERS,
        )
        traced = _Traced(span, trace.set_span_in_context(span, parent))
        if span.is_recording():
            span.set_attributes(_of_client(call.peer))
            self._calls[call] = traced
        return traced

    def received(self, call: Call, message: Any) -> None:
        """Note a message."""
        del message
        traced = self._calls.get(call)
        if traced is not None:
            traced.tell_received()

    def sent(self, call: Call, message: Any) -> None:
        """Note a message."""
        del message
        traced = self._calls.get(call)
        if traced is not None:
            traced.tell_sent()

    def ended(self, call: Call, outcome: Outcome) -> None:
        """End the span."""
        traced = self._calls.pop(call, None)
        if traced is not None:
            traced.end(outcome, _SERVER_ERRORS)


class ClientTracing(ClientMiddleware):
    """A span for each call of a channel, below the caller's; its context goes with the call.

    It never becomes the current one: a stream would leave it to whoever reads the stream.

    Args:
        provider: where spans come from; None for the program's own, if there is one.
    """

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=provider)
        self._calls: dict[ClientCall, _Traced] = {}

    def before(self, call: ClientCall) -> None:
        """Begin the span, and send its context."""
        span = self._tracer.start_span(
            call.method[1:],
            kind=trace.SpanKind.CLIENT,
            attributes={**_of_method(call.method), **_of_server(call.target)},
        )
        within = trace.set_span_in_context(span)
        _W3C.inject(call.metadata, within, _FIELDS)
        if span.is_recording():
            self._calls[call] = _Traced(span, within)

    def received(self, call: ClientCall, message: Any) -> None:
        """Note a message."""
        del message
        traced = self._calls.get(call)
        if traced is not None:
            traced.tell_received()

    def sent(self, call: ClientCall, message: Any) -> None:
        """Note a message."""
        del message
        traced = self._calls.get(call)
        if traced is not None:
            traced.tell_sent()

    def ended(self, call: ClientCall, outcome: Outcome) -> None:
        """End the span."""
        traced = self._calls.pop(call, None)
        if traced is not None:
            traced.end(outcome, _CLIENT_ERRORS)


_OF_OTHERS: Final[_Attributes] = {"rpc.system": "grpc", "rpc.method": UNKNOWN_METHOD}


@lru_cache(maxsize=1024)
def _of_method(path: str) -> _Attributes:
    service, _, method = path[1:].rpartition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}


@lru_cache(maxsize=1024)
def _of_server(target: str) -> _Attributes:
    parsed = parse_target(target)
    if parsed.path is not None:
        return {"server.address": parsed.path, "network.transport": "unix"}
    assert parsed.host is not None
    assert parsed.port is not None
    return {"server.address": parsed.host, "server.port": parsed.port}


def _of_client(peer: str) -> _Attributes:
    host, separator, port = peer.rpartition(":")
    if not separator:
        return {"network.transport": "unix"}
    return {"client.address": host.strip("[]"), "client.port": int(port)}
