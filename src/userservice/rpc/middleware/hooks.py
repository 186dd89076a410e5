"""What a middleware may hear of each call, and how those of a server or a channel are composed.

grpclib tells of a call by events; each is an object of its own, with its own copy of the
metadata. Here it is told by plain calls, composed once: what nobody overrides costs nothing.
"""

import logging
import time
from collections.abc import Awaitable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, Final, Generic, NamedTuple, TypeVar

from grpclib.const import Status

log = logging.getLogger(__name__)

C_contra = TypeVar("C_contra", contravariant=True)


class Outcome(NamedTuple):  # a frozen dataclass takes 2 us to make, and there is one a call
    """How a call ended.

    Args:
        status: what the client was told; CANCELLED where it left before.
        message: the error's text, where there is one.
        duration_s: how long it took, in seconds: on a server, from the request's headers.
        received: how many messages were taken.
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


class AnyMiddleware(Generic[C_contra]):
    """Sees every call; a subclass overrides what it wants to hear.

    The first is the outermost: it hears first how a call begins and what comes, and last what
    leaves and how the call ends. What refuses a call does so before those further in hear of it.
    """

    def before(self, call: C_contra) -> Awaitable[None] | None:
        """Hear of a call before anything of it is done; may be a coroutine.

        Raises:
            RpcError: the call is refused, and ends with this.
        """

    def around(self, call: C_contra) -> AbstractContextManager[None]:  # noqa: ARG002  # for who overrides it
        """Return what is entered after `before`, and left when the call is over, or failed."""
        return nullcontext()

    def received(self, call: C_contra, message: Any) -> None:
        """Hear of a message that came, before it is handed on.

        Raises:
            RpcError: the call ends with this.
        """

    def sent(self, call: C_contra, message: Any) -> None:
        """Hear of a message that is about to leave.

        Raises:
            RpcError: the call ends with this.
        """

    def ended(self, call: C_contra, outcome: Outcome) -> None:
        """Hear how the call ended; it is too late to change that.

        Every call has an end, also one that nobody began: that was refused further out, or
        whose time was over.
        """


class Heard:
    """What is noted of one call, for how it ended."""

    __slots__ = ("began_at", "received", "received_bytes", "sent", "sent_bytes", "within")

    def __init__(self) -> None:
        self.within = ExitStack()
        self.began_at = time.perf_counter()
        self.received = self.received_bytes = self.sent = self.sent_bytes = 0

    def outcome(self, status: Status, message: str | None) -> Outcome:
        """Return how the call ended, now."""
        return Outcome(
            status,
            message,
            time.perf_counter() - self.began_at,
            self.received,
            self.received_bytes,
            self.sent,
            self.sent_bytes,
        )


C = TypeVar("C")


class Hooks(Generic[C]):
    """Middleware, composed: for each thing to hear, those who want to.

    Args:
        middleware: in their order.
    """

    def __init__(self, middleware: Sequence[AnyMiddleware[C]]) -> None:
        inwards, outwards = tuple(middleware), tuple(reversed(middleware))
        self._layers = [
            (
                one.before if _overrides(one, "before") else None,
                one.around if _overrides(one, "around") else None,
            )
            for one in inwards
            if _overrides(one, "before") or _overrides(one, "around")
        ]
        self.receivers = [one.received for one in inwards if _overrides(one, "received")]
        self.senders = [one.sent for one in outwards if _overrides(one, "sent")]
        self.enders = [one.ended for one in outwards if _overrides(one, "ended")]

    async def enter(self, call: C, heard: Heard) -> None:
        """Tell of a call that begins, from the outermost to the innermost.

        Args:
            call: the call.
            heard: takes what is to be left when the call ends.

        Raises:
            RpcError: somebody refuses it.
        """
        for before, around in self._layers:
            if before is not None:
                waiting = before(call)
                if waiting is not None:
                    await waiting
            if around is not None:
                heard.within.enter_context(around(call))

    def receive(self, call: C, heard: Heard, message: Any, size: int) -> None:
        """Note a message that came, and tell of it."""
        heard.received += 1
        heard.received_bytes += size
        for receiver in self.receivers:
            receiver(call, message)

    def send(self, call: C, heard: Heard, message: Any, size: int) -> None:
        """Note a message that leaves, and tell of it."""
        heard.sent += 1
        heard.sent_bytes += size
        for sender in self.senders:
            sender(call, message)

    def end(self, call: C, heard: Heard, status: Status, message: str | None) -> None:
        """Tell how a call ended."""
        if not self.enders:
            return
        outcome = heard.outcome(status, message)
        for ender in self.enders:
            try:
                ender(call, outcome)
            except Exception:
                log.exception("a middleware failed at the end of a call")


_METHODS: Final = {
    name: getattr(AnyMiddleware, name) for name in vars(AnyMiddleware) if name[0] != "_"
}


def _overrides(middleware: AnyMiddleware[Any], name: str) -> bool:
    return getattr(type(middleware), name) is not _METHODS[name]
