"""What a call's task waits on: it can go on at once, without a turn of the event loop.

An asyncio future plans the rest of the task for the next turn. For a message of a stream,
that handle, the one that then sends the answer, and the turn between them are a quarter of
the time. asyncio's tasks wait on anything that has the face of a future, which is what
`asyncio.isfuture` looks for; this one lets its connection say when the task goes on.
"""

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Self


class Wakeup:
    """Wakes the one task that awaits it.

    Args:
        loop: the task's loop.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_loop", "done")

    _callback: Callable[["Wakeup"], object]
    _context: Context

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._cancelled = False
        self._loop = loop
        self.done = False
        """Whether the task was woken, or its wait cancelled."""

    def go_on(self) -> None:
        """Let the task go on now: no other task may be running."""
        self._context.run(self._callback, self)

    def go_on_soon(self) -> None:
        """Let the task go on in the next turn of the loop."""
        self._loop.call_soon(self._callback, self, context=self._context)

    # What a task asks of a future

    def __await__(self) -> Generator[Self, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop of whoever waits."""
        return self._loop

    def add_done_callback(
        self, callback: Callable[["Wakeup"], object], *, context: Context
    ) -> None:
        """Take the task's own callback, which takes its next step."""
        self._callback = callback
        self._context = context

    def cancel(self, msg: Any = None) -> bool:  # noqa: ARG002  # a task passes its own on
        """Wake the task with a cancellation, unless it was woken."""
        if self.done:
            return False
        self.done = self._cancelled = True
        self.go_on_soon()
        return True

    def result(self) -> None:
        """Return nothing to whoever was woken.

        Raises:
            CancelledError: the wait was cancelled.
        """
        if self._cancelled:
            raise asyncio.CancelledError
