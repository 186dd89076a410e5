"""How much one side of a connection takes of the other, and where each default comes from."""

from dataclasses import dataclass
from typing import Final

from userservice.wire.http2 import Budgets

_MIB: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server takes of its clients, or a channel of its server.

    Args:
        max_receive_message_bytes: the largest message that is read, inflated or not
            (4 MiB, as grpc-go and grpc-core have it). A larger one ends its call with
            RESOURCE_EXHAUSTED before a byte of it is kept.
        max_send_message_bytes: the largest message that is sent, before it is compressed
            (2 GiB, as in grpc-go). A larger one is not sent, and raises RESOURCE_EXHAUSTED.
        max_held_bytes: what the unfinished messages of a connection may hold beyond its window
            (32 MiB, and never less than one message). A call that needs more than that ends
            with RESOURCE_EXHAUSTED; without it, each call could hold nearly a whole message
            for as long as it likes.
        max_header_list_bytes: the largest list of header fields (64 KiB, as nghttp2 and Envoy
            have about). A larger one ends its stream only.
        max_header_block_bytes: the largest header block that is read, as it comes (128 KiB:
            twice the list, for blocks without compression); more is a flood of CONTINUATION.
        max_header_block_frames: how many frames it may have (64, as h2; nghttp2 takes 8).
        max_encoder_table_bytes: what is kept of HPACK's table for a peer, whatever that allows
            (4 KiB, as nghttp2 and Envoy).
        max_unread_bytes: what may wait for a peer that does not read, of what cannot wait, such
            as answers to pings (1 MiB; grpc-go has 100 frames, nghttp2 1,000); then it is cut
            off.
        max_concurrent_streams: the calls of one connection at a time (100, as Envoy advises);
            one more is refused with REFUSED_STREAM.
        max_connections: the connections at a time, with TLS handshakes; one more is told
            ENHANCE_YOUR_CALM, or closed before its handshake.
        max_call_s: how long a call may take at most, in seconds, whatever its deadline;
            None for no limit.
        handshake_s: how long a peer may take for a TLS handshake, and then until its preface
            and settings are here, in seconds (10 s, as Go's net/http2), and for the rest of a
            header block once it began one.
        reset_burst: how many streams may be reset at once, by the peer or because of what it
            did (1,000, as nghttp2: rapid reset, CVE-2023-44487, and MadeYouReset,
            CVE-2025-8671).
        resets_per_s: how many may be reset in each second after that (33, as nghttp2).
        glitch_burst: how many frames may bring nothing, such as PING, SETTINGS, PRIORITY,
            empty DATA, or one byte of a message (10,000, as nghttp2).
        glitches_per_s: how many may in each second after that (330, as nghttp2).
        min_ping_interval_s: what a client has to wait between two pings while nothing is sent
            to it, in seconds (300, gRFC A8); a third that is too early is answered with
            GOAWAY, ENHANCE_YOUR_CALM, ``too_many_pings``. 0 for any number while there is a call.
        min_idle_ping_interval_s: the same for a client that has no call under way (7,200,
            gRFC A8); the longer of the two counts. 0 where idle clients may ask as well.

    Raises:
        ValueError: a limit is none.
    """

    max_receive_message_bytes: int = 4 * _MIB
    max_send_message_bytes: int = 2**31 - 1
    max_held_bytes: int = 32 * _MIB
    max_header_list_bytes: int = 64 * 1024
    max_header_block_bytes: int = 128 * 1024
    max_header_block_frames: int = 64
    max_encoder_table_bytes: int = 4 * 1024
    max_unread_bytes: int = _MIB
    max_concurrent_streams: int = 100
    max_connections: int = 10_000
    max_call_s: float | None = None
    handshake_s: float = 10.0
    reset_burst: int = 1_000
    resets_per_s: float = 33.0
    glitch_burst: int = 10_000
    glitches_per_s: float = 330.0
    min_ping_interval_s: float = 300.0
    min_idle_ping_interval_s: float = 7_200.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name} is 0 or more, not {value!r}")
        for name in ("max_concurrent_streams", "max_header_list_bytes"):
            if getattr(self, name) > 2**32 - 1:
                raise ValueError(f"{name} is at most 4,294,967,295")

    @property
    def budgets(self) -> Budgets:
        """What of this the HTTP/2 engine counts."""
        return Budgets(
            block_bytes=self.max_header_block_bytes,
            block_frames=self.max_header_block_frames,
            encoder_table=self.max_encoder_table_bytes,
            reset_burst=self.reset_burst,
            resets_per_s=self.resets_per_s,
            glitch_burst=self.glitch_burst,
            glitches_per_s=self.glitches_per_s,
        )


DEFAULT_LIMITS: Final = Limits()
