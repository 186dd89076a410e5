"""What a middleware may hear of each call, and how those of a server are composed.

grpclib tells of a call by events; each is an object of its own, with its own copy of the
metadata. Here it is told by plain calls, composed once: what nobody overrides costs nothing.
"""

import functools
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from grpclib.const import Status

if TYPE_CHECKING:
    from userservice.rpc.call import Call
    from userservice.rpc.server_stream import ServerStream

log = logging.getLogger(__name__)

Serve = Callable[[Any], Awaitable[None]]
"""Serves the call of a stream."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended.

    Args:
        status: what the client was told; CANCELLED where it left before.
        message: the error's text, where there is one.
        duration_s: from the request's headers to the end, in seconds.
        received: how many messages the handler took.
        received_bytes: their size as they came, compressed or not.
        sent: how many messages were sent.
        sent_bytes: their size as they left.
    """

    status: Status
    message: str | None
    duration_s: float
    received: int
    received_bytes: int
    sent: int
    sent_bytes: int


class Middleware:
    """Sees every call of a server; a subclass overrides what it wants to hear.

    Those of a server hear in their order before a call, and in the opposite order at its end.
    """

    def before(self, call: "Call") -> Awaitable[None] | None:
        """Hear of a call before its handler does; may be a coroutine.

        Raises:
            RpcError: the call is refused, and ends with this.
        """

    async def around(self, call: "Call", proceed: Callable[[], Awaitable[None]]) -> None:  # noqa: ARG002  # for who overrides it
        """Serve a call: ``proceed`` goes on to the next middleware, and to the handler."""
        await proceed()

    def received(self, call: "Call", message: Any) -> None:
        """Hear of a message before the handler has it.

        Raises:
            RpcError: the call ends with this.
        """

    def sent(self, call: "Call", message: Any) -> None:
        """Hear of a message that is about to be sent.

        Raises:
            RpcError: the call ends with this.
        """

    def ended(self, call: "Call", outcome: Outcome) -> None:
        """Hear how the call ended; it is too late to change that."""


class Hooks:
    """The middleware of a server, composed: for each thing to hear, those who want to.

    Args:
        middleware: in their order.
    """

    def __init__(self, middleware: Sequence[Middleware]) -> None:
        self.befores = [one.before for one in middleware if _overrides(one, "before")]
        self.arounds = [one.around for one in reversed(middleware) if _overrides(one, "around")]
        self.receivers = [one.received for one in middleware if _overrides(one, "received")]
        self.senders = [one.sent for one in reversed(middleware) if _overrides(one, "sent")]
        self.enders = [one.ended for one in reversed(middleware) if _overrides(one, "ended")]

    async def serve(self, stream: "ServerStream", serve: Serve) -> None:
        """Serve a call, unless somebody refuses it."""
        call = stream.call
        for before in self.befores:
            waiting = before(call)
            if waiting is not None:
                await waiting
        if not self.arounds:
            await serve(stream)
            return
        proceed: Callable[[], Awaitable[None]] = functools.partial(serve, stream)
        for around in self.arounds:
            proceed = functools.partial(around, call, proceed)
        await proceed()

    def receive(self, stream: "ServerStream", size: int, message: Any) -> None:
        """Tell of a message that was received."""
        stream.received_bytes += size
        for receiver in self.receivers:
            receiver(stream.call, message)

    def send(self, stream: "ServerStream", size: int, message: Any) -> None:
        """Tell of a message that is sent."""
        stream.sent += 1
        stream.sent_bytes += size
        for sender in self.senders:
            sender(stream.call, message)

    def end(self, stream: "ServerStream") -> None:
        """Tell of the end of a call."""
        if not self.enders:
            return
        status, message, _ = stream.told or _LEFT
        outcome = Outcome(
            status,
            message,
            time.perf_counter() - stream.began_at,
            stream.received,
            stream.received_bytes,
            stream.sent,
            stream.sent_bytes,
        )
        for ender in self.enders:
            try:
                ender(stream.call, outcome)
            except Exception:
                log.exception("a middleware failed at the end of %s", stream.call.method)


_LEFT: Final = Status.CANCELLED, None, None  # the client left, or its connection
_METHODS: Final = {name: getattr(Middleware, name) for name in vars(Middleware) if name[0] != "_"}


def _overrides(middleware: Middleware, name: str) -> bool:
    return getattr(type(middleware), name) is not _METHODS[name]
