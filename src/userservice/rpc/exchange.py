"""The messages of one call on its HTTP/2 stream: what both sides' streams have in common.

Whoever waits, waits here: for a message, for room in a window, or for the socket. A call
that breaks off wakes them with the error.
"""

import asyncio
from typing import Any, Final

from grpclib.encoding.base import CodecBase
from grpclib.exceptions import ProtocolError, StreamTerminatedError

from userservice.rpc.connection import Call, Connection
from userservice.rpc.errors import InternalError, ResourceExhaustedError
from userservice.rpc.limits import Limits
from userservice.rpc.turn import Turn
from userservice.rpc.wakeup import Wakeup
from userservice.wire import compression, framing, http2

# What is larger is decoded, compressed or inflated in a thread: on the loop, 4 MiB of small
# fields would hold up everyone else for half a second. The way there and back takes 0.1 ms.
AT_ONCE_MAX: Final = 128 * 1024  # bytes

# A frame within a message that brings less than this, and is not its last, brings nothing.
_BRINGS_NOTHING: Final = 16  # bytes


class Exchange(Call):
    """One call's two directions of messages.

    The attributes have their first values in the class, so that a call that needs few of
    them sets few.
    """

    connection: Connection
    stream: http2.Stream
    input_encoding: compression.Encoding | None = None
    """What the other side's messages are compressed with, those that are."""
    output_encoding: compression.Encoding | None = None
    """What this side's messages are compressed with."""
    compresses = True
    """Whether the next messages are compressed, where there is an encoding."""
    _input: framing.MessageReader
    failure: Exception | None = None
    """Why the call broke off; what was received before can still be read."""
    input_ended = False
    """Whether the other side's messages are at their end."""
    _discarding = False  # whether nobody reads what still arrives
    _held = 0  # bytes of an unfinished message, whose credit was given back so that it can go on
    _in_part = False  # whether the start of a message was sent, without its end
    _turn: Turn | None = None
    _unread = 0  # bytes received, whose flow-control credit was not given back
    _waiters: list[Wakeup] | None = None

    @property
    def limits(self) -> Limits:
        """How much is taken of the other side."""
        raise NotImplementedError

    # Waiting

    def woken(self) -> Wakeup:
        """Return what wakes a task when something happens to the call; it looks anew what."""
        waiter = Wakeup(self.connection.loop)
        if self._waiters:
            # Those whose wait was cancelled are not kept for longer than this.
            self._waiters = [other for other in self._waiters if not other.done]
            self._waiters.append(waiter)
        else:
            self._waiters = [waiter]
        return waiter

    def wake(self) -> None:
        """Wake everyone who waits."""
        if self._waiters:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters:
                if not waiter.done:
                    waiter.done = True
                    self.connection.wake(waiter)
            if self._turn is not None:
                self._turn.begin()

    # What arrives

    def data_arrived(self, event: http2.DataReceived) -> None:
        """Take data, and wake who waits for a message."""
        self._unread += event.flow_size
        if event.end_stream:
            self.input_ended = True
        data = event.data
        if self._discarding:
            self._give_back_all()
        elif self._input.has_part and len(data) < _BRINGS_NOTHING:
            self._input.feed(data)
            if self._input.has_part:
                self.connection.spend_glitch()
        else:
            self._input.feed(data)
        if self._waiters:
            self.wake()

    def trailers_arrived(self, headers: http2.HeaderBlock) -> None:  # noqa: ARG002  # a server has no use for them
        """Take the end of the other side's messages."""
        self.input_ended = True
        if self._waiters:
            self.wake()

    def room_opened(self) -> None:
        """Go on sending."""
        self.wake()

    def fail(self, error: Exception) -> None:
        """End the call with an error, for everyone who waits and for what is tried later."""
        if self.failure is None:
            self.failure = error
        self.wake()

    # Messages

    @property
    def has_message(self) -> bool:
        """Whether a message is here that was not taken yet."""
        return bool(self._input.messages)

    @property
    def turn(self) -> Turn:
        """The call's turn of the event loop; it begins anew when the call has waited."""
        if self._turn is None:
            self._turn = Turn()
        return self._turn

    def take_message(self) -> bytes | None:
        """Return a message that is here, or None.

        With it goes back its flow-control credit. What was not read yet keeps its own, so
        that no more than a window is held; padding goes back with the last message.
        """
        messages = self._input.messages
        if not messages:
            return None
        message = messages.popleft()
        if self._held:
            self._forget_held()
        if messages:
            self._give_back(min(self._unread, len(message) + framing.PREFIX_SIZE))
        else:
            self._give_back(self._unread)
        return message

    def expects_message(self) -> bool:
        """Return whether one will come, where none is here; `woken` tells when to look again.

        Raises:
            Exception: what broke the call off, after the messages that came before.
        """
        if self._input.refused_size is not None:
            size, limit = self._input.refused_size, self.limits.max_receive_message_bytes
            self.discard_input()
            self._input.refused_size = size  # for who asks again
            raise ResourceExhaustedError(
                f"a message of {size} bytes was received, where {limit} are allowed"
            )
        if self.input_ended and not self._input.has_part:
            return False
        if self.failure is not None:
            raise self.failure
        if self.input_ended:
            raise self.cut_short()
        if self._input.has_part:
            self._hold()
        else:
            self._give_back_all()
        return True

    def _hold(self) -> None:
        """Give back the credit of an unfinished message: it may need more than the window."""
        connection, unread = self.connection, self._unread
        self._held += unread
        connection.held += unread
        self._give_back_all()
        limits = self.limits
        limit = max(limits.max_held_bytes, limits.max_receive_message_bytes)
        if connection.held > limit:
            self.discard_input()
            raise ResourceExhaustedError(
                f"the unfinished messages of this connection hold more than {limit} bytes"
            )

    def _forget_held(self) -> None:
        self.connection.held -= self._held
        self._held = 0

    def cut_short(self) -> Exception:
        """Return the error of an input that ends within a message."""
        return InternalError("the other side's last message has no end")

    def _give_back(self, size: int) -> None:
        self._unread -= size
        if self.connection.engine.acknowledge(self.stream, size):
            self.connection.plan_flush()

    def _give_back_all(self) -> None:
        if self._unread:
            self._give_back(self._unread)

    def let_go(self) -> None:
        """Give back all flow-control credit: the call is over, and nothing more is read."""
        if self._held:
            self._forget_held()
        self._give_back_all()

    def discard_input(self) -> None:
        """Let go of what is here and what will come: nobody reads it."""
        self._discarding = True
        self._input = framing.MessageReader(0)
        self.let_go()

    async def decoded(self, data: bytes, codec: CodecBase, message_type: type[Any]) -> Any:
        """Return the message that was received; inflated, where it was compressed.

        Raises:
            InternalError: it cannot be inflated, or is no such message.
            ResourceExhaustedError: it is larger than allowed.
        """
        if type(data) is framing.CompressedMessage:
            data = await self._inflated(data)
        if len(data) <= AT_ONCE_MAX:
            return codec.decode(data, message_type)
        return await asyncio.to_thread(codec.decode, data, message_type)

    async def _inflated(self, data: bytes) -> bytes:
        encoding, limit = self.input_encoding, self.limits.max_receive_message_bytes
        if encoding is None:
            raise InternalError("a message is marked as compressed, without a grpc-encoding")
        try:
            try:
                return compression.decompress(data, encoding, min(limit, AT_ONCE_MAX))
            except compression.InflatedTooLargeError:
                if limit <= AT_ONCE_MAX:
                    raise
                return await asyncio.to_thread(compression.decompress, data, encoding, limit)
        except compression.InflatedTooLargeError as error:
            raise ResourceExhaustedError(
                f"a message was received that is larger than the {limit} bytes that are allowed"
            ) from error
        except ValueError as error:
            raise InternalError(f"a message that cannot be read: {error}") from error

    # What is sent

    def refuse_to_send(self, size: int) -> ResourceExhaustedError:
        """Return the error of a message that is larger than what may be sent."""
        limit = self.limits.max_send_message_bytes
        return ResourceExhaustedError(f"a message of {size} bytes, where {limit} may be sent")

    async def compressed(self, data: bytes) -> bytes:
        """Return a message as it is sent; it stays as it is where compressing brings nothing."""
        encoding = self.output_encoding
        if encoding is None or not self.compresses:
            return data
        if len(data) <= AT_ONCE_MAX:
            compressed = compression.compress(data, encoding)
        else:
            compressed = await asyncio.to_thread(compression.compress, data, encoding)
        return framing.CompressedMessage(compressed) if len(compressed) < len(data) else data

    async def send(self, data: bytes | memoryview, *, end_stream: bool = False) -> None:
        """Send data, waiting for room where there is none.

        Raises:
            Exception: what broke the call off.
            StreamTerminatedError: the stream is over.
        """
        self._in_part = True
        try:
            while (rest := self.try_send(data, end_stream=end_stream)) is not None:
                self.connection.hold_up(self, sent=len(rest) < len(data))
                data = rest
                await self.woken()
            self._in_part = False
        finally:
            self.connection.forget(self)

    def send_now(self, data: bytes | memoryview, *, end_stream: bool = False) -> memoryview | None:
        """Send what there is room for, and return the rest, or None where all of it was sent.

        The rest is for `send`; it is empty where only the end of the stream is not sent yet.

        Raises:
            Exception: what broke the call off.
            ProtocolError: the message before this one was not sent to its end.
            StreamTerminatedError: the stream is over.
        """
        if self._in_part:
            raise ProtocolError("the message before was sent in part")
        return self.try_send(data, end_stream=end_stream)

    def try_send(self, data: bytes | memoryview, *, end_stream: bool) -> memoryview | None:
        """Send what there is room for, and return the rest; `send` and `send_now` go this way."""
        if self.failure is not None:
            raise self.failure
        connection = self.connection
        if connection.paused:
            return memoryview(data)
        try:
            sent = connection.engine.send_data(self.stream, data, end_stream=end_stream)
        except http2.StreamClosedError as error:
            raise StreamTerminatedError("the other side ended the call") from error
        connection.sent(sent)
        return None if sent == len(data) else memoryview(data)[sent:]
