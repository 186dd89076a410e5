"""A turn of the event loop, which a busy stream shares with everyone else."""

import asyncio
import time

_TURN_S = 0.0005  # what another call may have to wait for this one


class Turn:
    """Lets others run when this task has had the event loop for half a millisecond.

    A stream whose peer keeps its window open never has to wait, and so would never
    let go of the loop. Asking the clock costs some 50 ns; a ``sleep(0)`` for every
    message would cost a fifth of the rate.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin a turn: the task had to wait for something."""
        self._ends = time.monotonic() + _TURN_S

    async def share(self) -> None:
        """Let others run, if the turn is over."""
        if time.monotonic() >= self._ends:
            await asyncio.sleep(0)
            self.begin()
