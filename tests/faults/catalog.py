"""The faults: what each is known as, what its peer must be told, and what it may cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.faults import attacks
from tests.faults.attacks import ANSWERED, EXHAUSTED, LEFT_ALONE

if TYPE_CHECKING:
    from collections.abc import Callable

CALM: Final = "GOAWAY ENHANCE_YOUR_CALM: "
TOO_MANY_RESETS: Final = CALM + "too many resets of streams"
TOO_MANY_FRAMES: Final = CALM + "too many frames that bring nothing"
CLOSED: Final = "closed"

P99_MAX_MS: Final = 100.0
MEMORY_MAX_MIB: Final = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault, and its budget.

    Args:
        title: what it is, for the table.
        known: the number of its CVE, or of the document that says what to do.
        attack: what hostile peers do.
        saw: all that they must be told.
        memory_mib: by how much the server may grow, at the most.
        limits: those that differ from the defaults.
        small: those that differ again in the small run.
        over: why it is over its budget today, at full size; nothing where it must not be.
    """

    title: str
    attack: Callable[[attacks.Target], attacks.Saw]
    saw: tuple[str, ...]
    known: str = ""
    memory_mib: float = MEMORY_MAX_MIB
    limits: dict[str, Any] = field(default_factory=dict)
    small: dict[str, Any] = field(default_factory=dict)
    over: str = ""

    @property
    def name(self) -> str:
        """The name of its attack."""
        return self.attack.__name__

    def limits_of(self, *, full: bool) -> dict[str, Any]:
        """Return the limits of the server that it is put on."""
        return self.limits if full else self.limits | self.small


# gRFC A8 has an answer of its own to pings; without it they are frames like others.
_PINGS_ALLOWED: Final = {"min_ping_interval_s": 0.0, "min_idle_ping_interval_s": 0.0}
_HASTE: Final = {"handshake_s": 1.0}


def _late(what: str) -> str:
    return f"{CALM}the {what} did not come within 1 s"


FAULTS: Final = (
    Fault(
        title="Streams that are opened and reset",
        known="CVE-2023-44487, rapid reset",
        attack=attacks.rapid_reset,
        saw=(TOO_MANY_RESETS, CLOSED),
    ),
    Fault(
        title="Streams that are opened and reset, on twenty connections at once",
        known="CVE-2023-44487",
        attack=attacks.rapid_resets,
        saw=(TOO_MANY_RESETS, CLOSED),
        over=(
            "What one read brings is done in one go: 16 KiB of new calls are some 6 ms, and twenty "
            "connections in one turn of the loop add up. The budgets are each connection's own."
        ),
    ),
    Fault(
        title="Resets that we are made to send: WINDOW_UPDATE of 0",
        known="CVE-2025-8671, MadeYouReset",
        attack=attacks.zero_window_updates,
        saw=("RST_STREAM PROTOCOL_ERROR", TOO_MANY_RESETS, CLOSED),
    ),
    Fault(
        title="Resets that we are made to send: more data than content-length",
        known="CVE-2025-8671, MadeYouReset",
        attack=attacks.too_much_content,
        saw=("RST_STREAM PROTOCOL_ERROR", TOO_MANY_RESETS, CLOSED),
    ),
    Fault(
        title="Cancelled calls with large bodies",
        attack=attacks.cancelled_uploads,
        saw=(ANSWERED,),
        memory_mib=16,
    ),
    Fault(
        title="PING flood",
        known="CVE-2019-9512",
        attack=attacks.ping_flood,
        saw=("PING ACK", TOO_MANY_FRAMES, CLOSED),
        limits=_PINGS_ALLOWED,
    ),
    Fault(
        title="PING flood, the answers are not read",
        known="CVE-2019-9512",
        attack=attacks.unread_ping_flood,
        saw=("PING ACK", TOO_MANY_FRAMES, CLOSED),
        limits=_PINGS_ALLOWED,
    ),
    Fault(
        title="Pings that are too early",
        known="gRFC A8",
        attack=attacks.early_pings,
        saw=("PING ACK", CALM + "too_many_pings", CLOSED),
    ),
    Fault(
        title="SETTINGS flood",
        known="CVE-2019-9515",
        attack=attacks.settings_flood,
        saw=(TOO_MANY_FRAMES, CLOSED),
    ),
    Fault(
        title="SETTINGS flood, 2,730 changes in each, 100 calls open",
        known="CVE-2019-9515",
        attack=attacks.long_settings_flood,
        saw=(TOO_MANY_FRAMES, CLOSED),
    ),
    Fault(
        title="Empty DATA flood",
        known="CVE-2019-9518",
        attack=attacks.empty_data_flood,
        saw=(TOO_MANY_FRAMES, CLOSED),
    ),
    Fault(
        title="A message byte by byte",
        known="CVE-2019-9511",
        attack=attacks.one_byte_data,
        saw=(TOO_MANY_FRAMES, CLOSED),
    ),
    Fault(
        title="PRIORITY flood",
        known="CVE-2019-9513",
        attack=attacks.priority_flood,
        saw=(TOO_MANY_FRAMES, CLOSED),
    ),
    Fault(
        title="WINDOW_UPDATE flood",
        attack=attacks.window_update_flood,
        saw=(TOO_MANY_FRAMES, CLOSED),
    ),
    Fault(
        title="Flood of frames of an unknown type",
        attack=attacks.unknown_frame_flood,
        saw=(TOO_MANY_FRAMES, CLOSED),
    ),
    Fault(
        title="DATA flood on a stream that was reset",
        attack=attacks.dead_stream_flood,
        saw=("RST_STREAM PROTOCOL_ERROR", ANSWERED),
    ),
    Fault(
        title="CONTINUATION flood",
        known="CVE-2023-45288",
        attack=attacks.continuation_flood,
        saw=(CALM + "a header block of over 131072 bytes or 64 frames", CLOSED),
    ),
    Fault(
        title="Half a preface",
        attack=attacks.half_a_preface,
        saw=(_late("preface and settings"), CLOSED),
        limits=_HASTE,
    ),
    Fault(
        title="A preface, and no SETTINGS",
        attack=attacks.preface_without_settings,
        saw=(_late("preface and settings"), CLOSED),
        limits=_HASTE,
    ),
    Fault(
        title="Preface and settings byte by byte",
        known="Slowloris",
        attack=attacks.slow_preface,
        saw=(_late("preface and settings"), CLOSED),
        limits=_HASTE,
    ),
    Fault(
        title="Half a header block",
        attack=attacks.half_a_header_block,
        saw=(_late("header block"), CLOSED),
        limits=_HASTE,
    ),
    Fault(
        title="2,000 connections that do nothing",
        attack=attacks.idle_connections,
        saw=(ANSWERED,),
        memory_mib=100,
    ),
    Fault(
        title="2,000 connections where 1,000 are allowed",
        attack=attacks.too_many_connections,
        saw=(ANSWERED, CALM + "too many connections", CLOSED),
        memory_mib=60,
        limits={"max_connections": 1_000},
        small={"max_connections": 100},
    ),
    Fault(
        title="150 streams where 100 are allowed",
        attack=attacks.too_many_streams,
        saw=("RST_STREAM REFUSED_STREAM",),
    ),
    Fault(
        title="3,000 streams where 100 are allowed",
        attack=attacks.endless_streams,
        saw=("RST_STREAM REFUSED_STREAM", TOO_MANY_RESETS, CLOSED),
    ),
    Fault(
        title="HPACK bomb: 128 KiB that name 4 KiB with each byte",
        known="CVE-2016-6581",
        attack=attacks.hpack_bomb,
        saw=(ANSWERED, EXHAUSTED),
    ),
    Fault(
        title="128 KiB of header fields of one byte",
        attack=attacks.many_fields,
        saw=(ANSWERED, EXHAUSTED),
    ),
    Fault(
        title="128 KiB of short header fields, each new in the table",
        attack=attacks.many_literals,
        saw=(ANSWERED, EXHAUSTED),
    ),
    Fault(
        title="128 KiB of short header fields in Huffman code",
        attack=attacks.coded_literals,
        saw=(ANSWERED, EXHAUSTED),
    ),
    Fault(
        title="A header list over the limit",
        attack=attacks.large_header_list,
        saw=(ANSWERED, EXHAUSTED),
    ),
    Fault(
        title="An encoder's table of 4 GiB",
        attack=attacks.huge_encoder_table,
        saw=(ANSWERED,),
    ),
    Fault(
        title="A message of 4 GiB",
        attack=attacks.message_over_the_limit,
        saw=(EXHAUSTED,),
    ),
    Fault(
        title="Whole messages of a byte too many",
        attack=attacks.message_just_over_the_limit,
        saw=(EXHAUSTED,),
    ),
    Fault(
        title="Messages of 4 MiB of small fields, eight at once",
        attack=attacks.small_fields,
        saw=(ANSWERED,),
        memory_mib=100,
    ),
    Fault(
        title="Messages of 4 MiB of small fields that nobody knows, eight at once",
        attack=attacks.small_unknown_fields,
        saw=(ANSWERED,),
        memory_mib=100,
    ),
    Fault(
        title="30 messages of 127 KiB of small fields that nobody knows, at once",
        attack=attacks.fields_at_once,
        saw=(ANSWERED,),
        memory_mib=16,
    ),
    Fault(
        title="A gzip bomb: 1 MiB that is 1 GiB",
        attack=attacks.gzip_bomb,
        saw=(EXHAUSTED,),
        memory_mib=16,
    ),
    Fault(
        title="2,000 large streams to 20 clients that do not read",
        attack=attacks.never_reads,
        saw=(LEFT_ALONE,),
        memory_mib=160,
        over=(
            "2,000 handlers begin in one turn of the loop, each with a message of 64 KiB to encode."
        ),
    ),
    Fault(
        title="2,000 large streams to 20 clients that never open their window",
        attack=attacks.closed_window,
        saw=(LEFT_ALONE,),
        memory_mib=160,
        over=("As above."),
    ),
    Fault(
        title="One fast server stream",
        attack=attacks.fast_stream,
        saw=(ANSWERED,),
    ),
    Fault(
        title="A hundred fast server streams",
        attack=attacks.fast_streams,
        saw=(LEFT_ALONE,),
    ),
)
