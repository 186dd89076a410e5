"""A collector of traces in the same process: it speaks OTLP over HTTP, and keeps what comes."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATIENCE_S = 20


class Collector:
    """What was received."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.address = ""
        self.status = 200
        self.answers = threading.Event()
        """Cleared where it takes requests, and answers none."""
        self.answers.set()

    @property
    def spans(self) -> list[Span]:
        """All spans, in the order in which they came."""
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def resource(self) -> dict[str, str]:
        """What the sender says of itself."""
        attributes = self.requests[0].resource_spans[0].resource.attributes
        return {attribute.key: attribute.value.string_value for attribute in attributes}

    def until(self, name: str) -> Span:
        """Wait for a span with this name (not on an event loop)."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            for span in self.spans:
                if span.name == name:
                    return span
            time.sleep(0.01)
        raise AssertionError(f"no {name} among {[span.name for span in self.spans]}")


def attributes_of(span: Span) -> dict[str, object]:
    """The attributes of a span."""
    return {
        attribute.key: getattr(attribute.value, attribute.value.WhichOneof("value") or "")
        for attribute in span.attributes
    }


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector for as long as the block runs."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # http.server looks it up by this name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/x-protobuf"
            collector.requests.append(ExportTraceServiceRequest.FromString(body))
            collector.answers.wait(PATIENCE_S)
            self.send_response(collector.status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.answers.set()
        server.shutdown()
        thread.join(PATIENCE_S)
        server.server_close()
