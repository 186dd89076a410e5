"""A turn of the event loop, which a busy stream shares with everyone else."""

import asyncio
import threading
import time

_TURN_S = 0.0005  # what another call may have to wait for one busy stream
_ALL_S = 0.004  # and for all of them
_TURN_MIN_S = 0.00005  # less would be one message: sharing then costs a fifth of their rate


class _Sharing(threading.local):
    """How many tasks of a thread's loop let others run just now, and will go on themselves."""

    count = 0


_sharing = _Sharing()


class Turn:
    """Lets others run when this task has had the event loop for half a millisecond.

    More than eight busy streams divide four milliseconds among them: a hundred would else
    keep the loop for 50.

    A stream whose peer keeps its window open never has to wait, and so would never
    let go of the loop. Asking the clock costs some 50 ns; a ``sleep(0)`` for every
    message would cost a fifth of the rate.
    """

    def __init__(self) -> None:
        self._ends: float | None = None

    def begin(self) -> None:
        """Begin a turn: the task had to wait for something, or is about to go on."""
        self._ends = None  # the clock is asked once, when it is first asked whether it is over

    def is_over(self) -> bool:
        """Return whether it is time to share the loop."""
        now = time.monotonic()
        if self._ends is None:
            self._ends = now + max(min(_TURN_S, _ALL_S / (1 + _sharing.count)), _TURN_MIN_S)
        return now >= self._ends

    async def share(self) -> None:
        """Let others run, and begin a new turn."""
        _sharing.count += 1
        try:
            await asyncio.sleep(0)
        finally:
            _sharing.count -= 1
        self.begin()
