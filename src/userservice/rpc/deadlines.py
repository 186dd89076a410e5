"""The deadlines of many calls on one timer.

Most calls end long before their deadline. A timer for each would be set and cancelled each
time, and asyncio keeps the cancelled ones in its heap: 3 us a call. One for the earliest
deadline fires once in a timeout, finds that those calls are over, and looks for the next.
"""

import asyncio
from typing import Final, Protocol

# Deadlines that pass one after the other are looked at together, so that many calls with
# many deadlines cost no more than a look at all of them each time.
_LOOK_S: Final = 0.005


class Timed(Protocol):
    """A call that must be over at some time."""

    deadline_at: float
    """By the loop's clock."""

    def pass_deadline(self) -> None:
        """Hear that it is time."""


class Deadlines:
    """The calls that have a deadline, and the timer of the earliest one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: set[Timed] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: Timed) -> None:
        """Tell the call when its deadline passes."""
        self._calls.add(call)
        if self._timer is None or call.deadline_at < self._timer.when():
            self._set_timer(call.deadline_at)

    def discard(self, call: Timed) -> None:
        """Forget the call: it is over."""
        self._calls.discard(call)

    def stop(self) -> None:
        """Forget all calls."""
        self._calls.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        for call in [call for call in self._calls if call.deadline_at <= now]:
            self._calls.discard(call)
            call.pass_deadline()
        if self._calls and self._timer is None:
            earliest = min(call.deadline_at for call in self._calls)
            self._set_timer(max(earliest, now + _LOOK_S))
