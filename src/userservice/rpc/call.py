"""The call that a handler is serving: its metadata, deadline and peer.

betterproto2's generated bases hand a handler the request message and nothing
else; ``current_call()`` gives it the rest. Nothing is built before it is read.
"""

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from grpclib.metadata import Deadline
from multidict import MultiDict

from userservice.rpc.errors import Metadata, RpcError
from userservice.rpc.identity import Identity
from userservice.rpc.request_id import request_id_of
from userservice.wire.compression import Encoding

if TYPE_CHECKING:
    from userservice.rpc.subject import Subject


class ServedStream(Protocol):
    """The stream of a call that is being served."""

    metadata: Any
    """What the client sent with the call."""
    compression: Encoding | None
    """What the reply is compressed with, if the client reads it."""
    compresses: bool
    """Whether the next messages are."""
    deadline_at: float
    """When the call must be over, by the loop's clock."""

    @property
    def deadline(self) -> Deadline | None:
        """When the call must be over, or None."""

    @property
    def peer_name(self) -> str:
        """The client's address, as `Call.peer` has it."""

    @property
    def identity(self) -> Identity | None:
        """Who the client is, as its certificate says."""

    @property
    def user_agent(self) -> str | None:
        """What the client's program calls itself."""

    @property
    def call(self) -> "Call":
        """The call as its handler sees it."""

    async def send_initial_metadata(self) -> None:
        """Send the headers, before the first message does."""

    def end_on_drain(self) -> None:
        """Let the call end as soon as the server drains."""

    def break_off(self, error: Exception) -> None:
        """Cancel the handler, once, and remember why."""


class Call:
    """One call being served."""

    __slots__ = ("_initial", "_request_id", "_stream", "_trailing", "method", "subject")

    def __init__(self, stream: ServedStream, method: str) -> None:
        self._stream = stream
        self._initial: Metadata | None = None
        self._trailing: Metadata | None = None
        self._request_id: str | None = None
        self.method = method
        """The method's path, such as ``/userservice.v1.UserService/GetUser``."""
        self.subject: Subject | None = None
        """Who calls, as authentication found it; None without, or where the method needs none."""

    @property
    def metadata(self) -> Metadata:
        """What the client sent with the call, in order; a ``-bin`` key has bytes."""
        metadata: Metadata = self._stream.metadata
        return metadata

    @property
    def deadline(self) -> Deadline | None:
        """When the call must be over, or None where the client set no limit."""
        return self._stream.deadline

    @property
    def time_remaining_s(self) -> float | None:
        """The seconds left until the deadline, at least 0, or None without one."""
        deadline = self._stream.deadline
        return None if deadline is None else deadline.time_remaining()

    @property
    def peer(self) -> str:
        """The client's address: ``host:port``, ``[v6]:port``, or ``unix``."""
        return self._stream.peer_name

    @property
    def identity(self) -> Identity | None:
        """Who the client is, as its certificate says; None without mutual TLS.

        It is read once for a connection, and only where it is asked for.
        """
        return self._stream.identity

    @property
    def user_agent(self) -> str | None:
        """What the client's program calls itself, as it says; None where it does not."""
        return self._stream.user_agent

    @property
    def request_id(self) -> str:
        """A name for the call: the client's ``x-request-id`` where that is one, or a new one."""
        if self._request_id is None:
            self._request_id = request_id_of(self.metadata)
        return self._request_id

    @property
    def compression(self) -> Encoding | None:
        """What the reply is compressed with, where the client reads it; None for nothing.

        It is the server's until it is set, and counts when the reply begins.
        """
        return self._stream.compression

    @compression.setter
    def compression(self, encoding: Encoding | None) -> None:
        self._stream.compression = encoding

    @property
    def compresses(self) -> bool:
        """Whether the next messages are compressed; set it for each that must not be."""
        return self._stream.compresses

    @compresses.setter
    def compresses(self, compresses: bool) -> None:
        self._stream.compresses = compresses

    @property
    def initial_metadata(self) -> Metadata:
        """What is sent before the first message; add to it until then."""
        if self._initial is None:
            self._initial = MultiDict()
        return self._initial

    @property
    def trailing_metadata(self) -> Metadata:
        """What is sent with the status, at the end; add to it any time."""
        if self._trailing is None:
            self._trailing = MultiDict()
        return self._trailing

    @property
    def has_initial_metadata(self) -> bool:
        """Whether the handler asked for its initial metadata, to add to it."""
        return self._initial is not None

    @property
    def has_trailing_metadata(self) -> bool:
        """Whether the handler asked for its trailing metadata, to add to it."""
        return self._trailing is not None

    async def send_initial_metadata(self) -> None:
        """Send the initial metadata now, so that the client need not wait for a message.

        Raises:
            ProtocolError: it was sent before.
        """
        await self._stream.send_initial_metadata()

    def end_on_drain(self) -> None:
        """Let the call end with UNAVAILABLE as soon as the server drains.

        For calls that never end by themselves: the server would wait for them in vain. The
        handler is cancelled; its trailing metadata is sent.

        Raises:
            UnavailableError: the server drains already.
        """
        self._stream.end_on_drain()

    def end(self, error: RpcError) -> None:
        """End the call with an error, from outside of its handler, which is cancelled.

        A call that is over stays as it is.
        """
        self._stream.break_off(error)


_current: ContextVar[ServedStream] = ContextVar("current_call")


def current_call() -> Call:
    """Return the call that the running handler serves.

    Raises:
        LookupError: no handler is running here.
    """
    try:
        return _current.get().call
    except LookupError:
        raise LookupError("current_call() outside of a handler: no call is being served") from None


def inherited_deadline() -> float:
    """Return when the call that the running handler serves must be over; infinity for never."""
    served = _current.get(None)
    return math.inf if served is None else served.deadline_at


enter_call = _current.set
"""Makes a stream's call the current one of the running task; it is built when it is asked for."""
