"""What both servers with everything on have in common: who calls, and how many calls are traced."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import jwt
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from tests.bench import contract

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

KEY: Final = bytes(range(32))
KID: Final = "bench"
ISSUER: Final = "bench"
AUDIENCE: Final = "bench"
LIFETIME_S: Final = 3_600
TRACED: Final = 0.01
# So many that nobody is limited: what is measured is the counting.
PER_S: Final = 1e9
BURST: Final = 10**9


def token() -> str:
    """Return a token that is good for an hour."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": contract.USER_ID,
        "iat": now,
        "exp": now + LIFETIME_S,
    }
    return jwt.encode(claims, KEY, "HS256", {"kid": KID})


def tracer_provider(ratio: float = TRACED) -> TracerProvider:
    """Return where spans come from; they are encoded in batches, and go nowhere."""
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(ratio), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return provider


class Nowhere(SpanExporter):
    """Makes of spans what a collector is sent, and sends it nowhere."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Encode the spans."""
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Do nothing: it holds nothing."""
