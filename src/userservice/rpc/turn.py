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
        self._ends: float | None = None

    def begin(self) -> None:
        """Begin a turn: the task had to wait for something, or is about to go on."""
        self._ends = None  # the clock is asked once, when it is first asked whether it is over

    def is_over(self) -> bool:
        """Return whether it is time to share the loop."""
        now = time.monotonic()
        if self._ends is None:
            self._ends = now + _TURN_S
        return now >= self._ends

    async def share(self) -> None:
        """Let others run, and begin a new turn."""
        await asyncio.sleep(0)
        self.begin()
