"""What the sending and the receiving side of a connection share (RFC 9113 section 5.1).

The settings, the windows, the streams that live, and a bounded memory of those that do not.
It knows no frame's rule: those are in the modules that build on it.
"""

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from userservice.wire.http2 import frames
from userservice.wire.http2.budget import DEFAULT_BUDGETS, Budget, Budgets
from userservice.wire.http2.codes import (
    PREFACE,
    STREAM_ID_MAX,
    TABLE_SIZE_DEFAULT,
    WINDOW_DEFAULT,
    WINDOW_MAX,
    ErrorCode,
    FrameType,
)
from userservice.wire.http2.decoder import BlockDecoder
from userservice.wire.http2.encoder import BlockEncoder
from userservice.wire.http2.errors import ProtocolError, StreamError
from userservice.wire.http2.events import Event, GoawayReceived
from userservice.wire.http2.settings import Settings
from userservice.wire.http2.stream import CLOSED, NEXT, Step, Stream

if TYPE_CHECKING:
    from userservice.wire.http2.block import HeldBlock


class Role(enum.Enum):
    """Which side of a connection this is."""

    CLIENT = "client"
    SERVER = "server"


_SENT_FOR_GLITCH: Final = 8  # bytes of data sent to the peer, for which one more is expected

Rule = Callable[[Any, int, int, bytes, list[Event]], None]
"""What is done with a frame: the connection, its flags, its stream, its payload, and the list
to which what happened is added. It may raise ProtocolError or StreamError."""

# Streams that were reset are remembered, for what was on its way already. One that is
# forgotten counts as one that was ended.
_RESETS_REMEMBERED: Final = 1_000

# A client hardly ever leaves out stream identifiers.
_GAPS_REMEMBERED: Final = 100


class Endpoint:
    """The state of one connection, and of its streams.

    Args:
        role: which side this is.
        settings: what to announce; a copy stays in force. A client announces no push.
        window: what the peer may send on the whole connection until it is acknowledged, in
            bytes, from 65,535 to 2^31-1.
        budgets: how much of what brings nothing the peer may send.

    Raises:
        ValueError: no peer can be told such a window.
    """

    def __init__(
        self,
        role: Role,
        settings: Settings | None = None,
        *,
        window: int = WINDOW_DEFAULT,
        budgets: Budgets = DEFAULT_BUDGETS,
    ) -> None:
        if not WINDOW_DEFAULT <= window <= WINDOW_MAX:
            raise ValueError(f"a connection's window is {WINDOW_DEFAULT} to {WINDOW_MAX} bytes")
        self.role = role
        self._is_server = role is Role.SERVER
        self.local = replace(settings or Settings())
        if not self._is_server:
            self.local.enable_push = 0
        self.remote = Settings()
        self.streams: dict[int, Stream] = {}
        """The streams that are open, or half closed."""
        self.send_window = WINDOW_DEFAULT
        self.receive_window = window
        self.goaway_received: GoawayReceived | None = None
        self.failed = False
        """Whether a rule was broken: nothing more is read."""
        self._budgets = budgets
        self._granted = WINDOW_DEFAULT
        self._resets = Budget(
            "resets of streams", budgets.reset_burst, budgets.resets_per_s, budgets.clock
        )
        self._glitches = Budget(
            "frames that bring nothing", budgets.glitch_burst, budgets.glitches_per_s, budgets.clock
        )
        self._credit = 0
        self._credit_least = window // 2
        self._stream_credit_least = max(self.local.initial_window_size // 2, 1)
        # Until the peer has acknowledged smaller values, it may use the defaults.
        self._stream_window = max(self.local.initial_window_size, WINDOW_DEFAULT)
        self._decoder = BlockDecoder(
            self.local.max_header_list_size, max(self.local.header_table_size, TABLE_SIZE_DEFAULT)
        )
        self._encoder = BlockEncoder(budgets.encoder_table)
        self._out: list[bytes | memoryview] = []
        self._next_id = 1
        self._last_peer_id = 0
        self._last_accepted_id = STREAM_ID_MAX
        self._reset_by_peer: dict[int, bool] = {}
        self._gaps: deque[range] = deque(maxlen=_GAPS_REMEMBERED)
        self._expected: FrameType | None = FrameType.SETTINGS  # section 3.4: the first frame
        self._block: HeldBlock | None = None
        self._greet(window)

    def _greet(self, window: int) -> None:
        """Begin with the preface (section 3.4)."""
        if not self._is_server:
            self._out.append(PREFACE)
        self._out.append(frames.settings(self.local.changes()))
        if window > WINDOW_DEFAULT:
            self._out.append(frames.window_update(0, window - WINDOW_DEFAULT))

    def spend_glitch(self) -> None:
        """Count a frame that brings nothing, such as one byte of a message.

        A peer that is sent much has reason to send more of them, for flow control or to
        measure the link: grpc-go sends a ping for each round trip of data.

        Raises:
            ProtocolError: ENHANCE_YOUR_CALM; there were too many.
        """
        self._glitches.spend((self._granted - self.send_window) / _SENT_FOR_GLITCH)

    def _step(self, stream: Stream, step: Step) -> None:
        """Move a stream by the table of its states; one that is closed is no longer kept."""
        state = stream.state = NEXT[stream.state][step]
        if state is CLOSED:
            self.streams.pop(stream.id, None)

    def _is_idle(self, stream_id: int) -> bool:
        """Tell whether nobody opened the stream yet; nobody ever does with an even number."""
        if stream_id & 1 == 0:
            return True
        if self._is_server:
            return stream_id > self._last_peer_id
        return stream_id >= self._next_id

    def _use_peer_id(self, stream_id: int) -> None:
        """Take a new stream's identifier: those below are used up (section 5.1.1)."""
        if stream_id - self._last_peer_id > 2:  # noqa: PLR2004  two roles share the numbers
            self._gaps.append(range(self._last_peer_id + 1 | 1, stream_id, 2))
        self._last_peer_id = stream_id

    def _remember_reset(self, stream_id: int, *, by_peer: bool) -> None:
        if len(self._reset_by_peer) >= _RESETS_REMEMBERED:
            del self._reset_by_peer[next(iter(self._reset_by_peer))]
        self._reset_by_peer[stream_id] = by_peer

    def _refuse_frame(self, stream_id: int) -> None:
        """Answer a frame on a stream that takes none (section 5.1).

        Raises:
            ProtocolError: the stream is idle.
            StreamError: it was ended, or the peer reset it. Said once: it then counts as
                reset by this side, and what was on its way by then is ignored.
        """
        if self._is_idle(stream_id):
            raise ProtocolError(ErrorCode.PROTOCOL_ERROR, "a frame on an idle stream (section 5.1)")
        if self._reset_by_peer.get(stream_id) is not False:
            raise StreamError(stream_id, ErrorCode.STREAM_CLOSED, "after the end (section 5.1)")

    def _refuse_headers(self, stream_id: int) -> None:
        """Answer HEADERS on a stream that is over, or was passed over (sections 5.1, 5.1.1)."""
        if stream_id in self._reset_by_peer or self._is_idle(stream_id):
            self._refuse_frame(stream_id)
        elif any(stream_id in gap for gap in self._gaps):
            raise ProtocolError(
                ErrorCode.PROTOCOL_ERROR, "a stream below one that was opened (section 5.1.1)"
            )
        else:
            raise ProtocolError(
                ErrorCode.STREAM_CLOSED, "HEADERS on a stream that was ended (section 5.1)"
            )
