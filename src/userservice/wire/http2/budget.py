"""How much of what brings nothing a peer may send: a bucket that fills again with time.

A flood is a fault of its connection, whatever it is made of: GOAWAY, ENHANCE_YOUR_CALM, and a
text that says which budget was spent (RFC 9113 section 10.5).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from userservice.wire.bucket import TokenBucket
from userservice.wire.http2.codes import TABLE_SIZE_DEFAULT, ErrorCode
from userservice.wire.http2.errors import ProtocolError


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """What one connection spends on a peer; the defaults are nghttp2's, but for header blocks.

    Args:
        block_bytes: what a header block may have until its end, in bytes; its list is bounded
            by a setting, which the peer may not know (CVE-2023-45288 and its kin).
        block_frames: how many frames a header block may have.
        encoder_table: what this side's encoder keeps for the peer, whatever that allows, in
            bytes.
        reset_burst: how many streams may be reset at once, by the peer or for what it did.
        resets_per_s: how many may in each second after that.
        glitch_burst: how many frames that bring nothing may come at once.
        glitches_per_s: how many may in each second after that.
        clock: tells the time, in seconds; it is asked where something is spent.
    """

    block_bytes: int = 128 * 1024
    block_frames: int = 64
    encoder_table: int = TABLE_SIZE_DEFAULT
    reset_burst: float = 1_000
    resets_per_s: float = 33
    glitch_burst: float = 10_000
    glitches_per_s: float = 330
    clock: Callable[[], float] = time.monotonic


DEFAULT_BUDGETS: Final = Budgets()


class Budget(TokenBucket):
    """What may still be spent on one kind of thing.

    Args:
        what: the kind, for who reads the GOAWAY.
        burst: how much may be spent at once.
        per_s: how much comes back in a second.
        clock: tells the time, in seconds.
    """

    __slots__ = ("_clock", "_earned", "_what")

    def __init__(self, what: str, burst: float, per_s: float, clock: Callable[[], float]) -> None:
        super().__init__(burst, per_s)
        self._what = what
        self._clock = clock
        self._earned = 0.0

    def spend(self, earned: float = 0.0) -> None:
        """Spend one.

        Args:
            earned: what the peer has earned by other means than time, since the beginning.

        Raises:
            ProtocolError: ENHANCE_YOUR_CALM; there is nothing left.
        """
        more, self._earned = earned - self._earned, earned
        if not self.take(self._clock(), more):
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, f"too many {self._what}")
