"""How late the event loop is: what a call waits when others keep the loop."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from userservice.rpc.middleware.histogram import LATENCY_BOUNDS, Histogram

_EVERY_S: Final = 0.1


class LoopLag:
    """Sets a timer again and again, and notes how much later than it should it fires.

    A pause of the loop is noted as often as it is long: the share of a bucket is the share
    of the time in which whatever comes has to wait so long.
    """

    def __init__(self) -> None:
        self.histogram = Histogram(LATENCY_BOUNDS)
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the loop for as long as the block runs."""
        self._set(self._loop.time())
        try:
            yield
        finally:
            assert self._timer is not None
            self._timer.cancel()

    def _set(self, now: float) -> None:
        self._due = now + _EVERY_S
        self._timer = self._loop.call_at(self._due, self._fired)

    def _fired(self) -> None:
        now = self._loop.time()
        self.histogram.observe(max(now - self._due, 0.0))
        self._set(now)
