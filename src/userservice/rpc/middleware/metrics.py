"""Metrics of calls: the instruments and labels of gRFC A66, as Prometheus spells them.

Both are collectors for a registry of prometheus_client as well. Only the event loop writes;
whoever collects, on any thread, copies what it reads.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from userservice.rpc.call import Call
from userservice.rpc.client_call import ClientCall
from userservice.rpc.middleware import ClientMiddleware, Middleware, Outcome
from userservice.rpc.middleware.histogram import (
    LATENCY_BOUNDS,
    SIZE_BOUNDS,
    Histogram,
    histogram_family,
)
from userservice.rpc.server import Service

if TYPE_CHECKING:
    from grpclib.const import Status

__all__ = ["ClientMetrics", "ServerMetrics"]

OTHER: Final = "other"
"""The label of a method that nobody serves: its name is the client's, and may be any."""
_PAIRS_MAX: Final = 1_000  # of a method and a target that a client's metrics tell apart

_STARTED: Final = "The calls that began, those under way as well."
_DURATION: Final = "From the headers of a call to its status, in seconds."
_SENT: Final = "The size of all messages of a call that were sent, compressed where they were."
_RECEIVED: Final = "The size of all messages of a call that came, compressed where they were."


@dataclass(slots=True)
class _Measured:
    """What was measured of the calls that ended alike."""

    duration: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS))
    sent: Histogram = field(default_factory=lambda: Histogram(SIZE_BOUNDS))
    received: Histogram = field(default_factory=lambda: Histogram(SIZE_BOUNDS))

    def add(self, outcome: Outcome) -> None:
        self.duration.observe(outcome.duration_s)
        self.sent.observe(outcome.sent_bytes)
        self.received.observe(outcome.received_bytes)


C = TypeVar("C")
_Labels = tuple[str, ...]


class _Calls(Generic[C]):
    """What is known of calls, by labels: their method, and what else tells them apart."""

    def __init__(self) -> None:
        self.started: dict[_Labels, int] = {}
        self.under_way: dict[C, _Labels] = {}
        self.ended: dict[_Labels, dict[Status, _Measured]] = {}

    def know(self, labels: _Labels) -> None:
        """Begin to count, at nothing: what was never counted cannot be seen to rise."""
        self.started[labels] = 0
        self.ended[labels] = {}

    def begin(self, call: C, labels: _Labels) -> None:
        self.started[labels] += 1
        self.under_way[call] = labels

    def end(self, call: C, labels: _Labels, outcome: Outcome) -> None:
        if self.under_way.pop(call, None) is None:
            self.started[labels] += 1  # it was over before anybody could be told that it began
        by_status = self.ended[labels]
        measured = by_status.get(outcome.status)
        if measured is None:
            measured = by_status[outcome.status] = _Measured()
        measured.add(outcome)

    def families(self, started: str, ended: str, names: list[str], *more: str) -> Iterator[Metric]:
        """Return the started calls, and of those that ended the time and the sizes.

        Args:
            started: the first family's name.
            ended: what the names of the others begin with.
            names: those of the labels.
            more: further families that have the time.
        """
        counter = CounterMetricFamily(started, _STARTED, labels=names)
        for labels, count in list(self.started.items()):
            counter.add_metric(labels, count)
        yield counter
        size = "total_compressed_message_size_bytes"
        parts = [
            *((name, _DURATION, "duration") for name in (f"{ended}_duration_seconds", *more)),
            (f"{ended}_sent_{size}", _SENT, "sent"),
            (f"{ended}_rcvd_{size}", _RECEIVED, "received"),
        ]
        for name, text, part in parts:
            labelled = partial(self._measured, part)
            yield histogram_family(name, text, [*names, "grpc_status"], labelled)

    def _measured(self, part: str) -> Iterator[tuple[_Labels, Histogram]]:
        for labels, by_status in list(self.ended.items()):
            for status, measured in list(by_status.items()):
                yield (*labels, status.name), getattr(measured, part)


class ServerMetrics(Middleware, Collector):
    """Measures the calls of a server.

    Args:
        services: those that are served; a call of any other method is one of ``other``.
    """

    def __init__(self, services: Collection[Service]) -> None:
        self._labels = {
            path: (path.removeprefix("/"),)
            for service in services
            for path in service.__mapping__()
        }
        self._calls = _Calls[Call]()
        for labels in (*self._labels.values(), (OTHER,)):
            self._calls.know(labels)

    def before(self, call: Call) -> None:
        """Count a call."""
        self._calls.begin(call, self._labels.get(call.method, (OTHER,)))

    def ended(self, call: Call, outcome: Outcome) -> None:
        """Measure it."""
        self._calls.end(call, self._labels.get(call.method, (OTHER,)), outcome)

    def collect(self) -> Iterator[Metric]:
        """Return what was measured."""
        yield from self._calls.families(
            "grpc_server_call_started", "grpc_server_call", ["grpc_method"]
        )
        under_way = GaugeMetricFamily(
            "userservice_calls_under_way",
            "The calls that have begun, and not ended.",
            labels=["grpc_method"],
        )
        now = Counter(list(self._calls.under_way.values()))
        for labels in (*self._labels.values(), (OTHER,)):
            under_way.add_metric(labels, now[labels])
        yield under_way


class ClientMetrics(ClientMiddleware, Collector):
    """Measures the calls of channels; one object may do so for several.

    A call is one attempt: no call is tried again.
    """

    def __init__(self) -> None:
        self._labels: dict[tuple[str, str], _Labels] = {}
        self._calls = _Calls[ClientCall]()

    def before(self, call: ClientCall) -> None:
        """Count a call."""
        self._calls.begin(call, self._labels_of(call))

    def ended(self, call: ClientCall, outcome: Outcome) -> None:
        """Measure it."""
        self._calls.end(call, self._labels_of(call), outcome)

    def _labels_of(self, call: ClientCall) -> _Labels:
        key = call.method, call.target
        labels = self._labels.get(key)
        if labels is None:
            if len(self._labels) < _PAIRS_MAX:
                labels = self._labels[key] = call.method.removeprefix("/"), _uri(call.target)
            else:
                labels = OTHER, OTHER
            if labels not in self._calls.started:
                self._calls.know(labels)
        return labels

    def collect(self) -> Iterator[Metric]:
        """Return what was measured."""
        yield from self._calls.families(
            "grpc_client_attempt_started",
            "grpc_client_attempt",
            ["grpc_method", "grpc_target"],
            "grpc_client_call_duration_seconds",
        )


def _uri(target: str) -> str:
    """Return a target as other clients write it, with its scheme."""
    return target if target.startswith("unix:") else f"dns:///{target}"
