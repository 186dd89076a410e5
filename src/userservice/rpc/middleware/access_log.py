"""The access log: one entry a call, with what an operator asks about it.

What a client says of itself is in it as text that can be nothing else: it has no line breaks and
no controls, and is not long. Of the metadata, only keys that were chosen are in it.
"""

import random
import sys
from collections.abc import Callable, Collection
from contextvars import ContextVar
from typing import Any, Final

from grpclib.const import Status
from structlog.contextvars import bind_contextvars

from userservice.rpc.call import Call
from userservice.rpc.middleware import Middleware, Outcome
from userservice.rpc.request_id import KEY

Entry = dict[str, Any]
"""What is said of a call: numbers and clean text, by their names."""

SECRET_KEYS: Final = frozenset(
    {"authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"}
)
"""Keys of metadata that are never logged."""

_TEXT_MAX: Final = 256  # characters
_OK: Final = Status.OK
_TRACING: Final = "opentelemetry.trace"


class AccessLog(Middleware):
    """Tells of each call when it has ended, and gives it a name that its client hears too.

    The name is `Call.request_id`. It goes back in the trailers, and stands in every line that
    the handler logs with structlog.

    Args:
        write: takes an entry, and must not wait.
        sample: of how many calls one is told; all that failed or were slow are.
        slow_s: from when on a call is slow.
        metadata: which keys of the client's metadata are told.
        chance: returns a number from 0 up to 1, for each call that may be told or not.

    Raises:
        ValueError: a key is one of a secret, or of bytes, or `sample` is less than 1.
    """

    def __init__(
        self,
        write: Callable[[Entry], None],
        *,
        sample: int = 1,
        slow_s: float = 1.0,
        metadata: Collection[str] = (),
        chance: Callable[[], float] = random.random,
    ) -> None:
        for key in metadata:
            check_key(key)
        if sample < 1:
            raise ValueError("one of 1 or more calls is told")
        self._write = write
        self._sample = sample
        self._slow_s = slow_s
        self._keys = {key: f"metadata.{key}" for key in metadata}
        self._chance = chance

    def before(self, call: Call) -> None:
        """Give the call its name, before anything is logged of it."""
        request_id = call.request_id
        call.trailing_metadata[KEY] = request_id
        if _TRACING in sys.modules:
            trace = _current_trace(sys.modules[_TRACING])
            if trace is not None:
                _traced.set((call, trace))
                bind_contextvars(request_id=request_id, **trace)
                return
        bind_contextvars(request_id=request_id)

    def ended(self, call: Call, outcome: Outcome) -> None:
        """Tell of the call, if it is one of those that are told."""
        sample = self._sample
        if outcome.status is not _OK or outcome.duration_s >= self._slow_s:
            sample = 1
        elif sample > 1 and self._chance() * sample >= 1:
            return
        subject = call.subject
        entry: Entry = {
            "method": clean(call.method),
            "status": outcome.status.name,
            "duration_ms": round(outcome.duration_s * 1_000, 3),
            "received": outcome.received,
            "received_bytes": outcome.received_bytes,
            "sent": outcome.sent,
            "sent_bytes": outcome.sent_bytes,
            "peer": call.peer,
            "request_id": call.request_id,
        }
        if subject is not None:
            entry["subject"] = clean(subject.id)
            entry["subject_kind"] = subject.kind.value
        if call.user_agent is not None:
            entry["user_agent"] = clean(call.user_agent)
        traced = _traced.get()
        if traced is not None and traced[0] is call:
            entry.update(traced[1])
        if self._keys:
            metadata = call.metadata
            for key, name in self._keys.items():
                if key in metadata:
                    entry[name] = clean(", ".join(map(str, metadata.getall(key))))
        if sample > 1:
            entry["sample"] = sample
        self._write(entry)


def check_key(key: str) -> None:
    """See that a key of metadata may be logged.

    Raises:
        ValueError: it may not; its text says why.
    """
    if key in SECRET_KEYS:
        raise ValueError(f"{key} is a secret, which is never logged")
    if key.endswith("-bin"):
        raise ValueError(f"{key} has bytes, which are not logged")
    if key != key.lower():
        raise ValueError(f"{key} is no key of metadata: those are in lower case")


def clean(text: str) -> str:
    """Return a text of somebody else's as one that can do no harm in a line of a log.

    What people do not see, or what moves what they see, is written as Python writes it: line
    breaks, controls of terminals, marks that turn the direction of writing.
    """
    if len(text) > _TEXT_MAX:
        text = f"{text[:_TEXT_MAX]}..."
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii")
        for sign in text
    )


# Who traces has left the call's span when the call ends. It is kept here: a call has a context of
# its own, and with it stands whose it is, for a server that is called from within a handler.
_traced: ContextVar[tuple[Call, dict[str, str]] | None] = ContextVar("traced", default=None)


def _current_trace(tracing: Any) -> dict[str, str] | None:
    """Return the ids of OpenTelemetry's current span, as the W3C writes them."""
    span = tracing.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}


__all__ = ["AccessLog", "Entry"]
