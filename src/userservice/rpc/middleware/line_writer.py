"""Writes the lines of a log in a thread: a reader that is slow holds up no call.

What a handler logs is rare, and may wait for its line to be written. A line for each call may not:
one that finds too many before it is dropped, and counted.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

# Many lines are written at once: to wake the thread costs as much as some lines.
PAUSE_S: Final = 0.05
CLOSING_S: Final = 2.0
_WAITING_MAX: Final = 2**20  # characters, about 3,000 calls


class LineWriter:
    """Writes lines, soon; an async context manager, which writes the rest at its end.

    Args:
        write: writes bytes, and may wait; it is called in a thread of the writer's own. An
            `OSError` loses them.
        dropped: returns the line that says how many lines were dropped.
        waiting_max: how much may wait for those before it, in characters.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        dropped: Callable[[int], str],
        *,
        waiting_max: int = _WAITING_MAX,
    ) -> None:
        self._write = write
        self._say_dropped = dropped
        self._waiting_max = waiting_max
        self._waiting: list[str] = []
        self._size = 0
        self._dropped = 0
        self._planned = False  # whether somebody will come for the lines
        self._closed = False
        self._batches: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # one at most
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write what waits. Where nobody reads, it is given up after two seconds."""
        self._closed = True
        self._hand_over()
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join, CLOSING_S)

    def add(self, line: str) -> None:
        """Write a line, which ends in a line break, or count that it was dropped."""
        if self._closed or self._size + len(line) > self._waiting_max:
            self._dropped += 1
            return
        self._waiting.append(line)
        self._size += len(line)
        if not self._planned:
            self._planned = True
            self._loop.call_later(PAUSE_S, self._hand_over)

    def _hand_over(self) -> None:
        """Let the thread write what waits."""
        if self._dropped:
            self._waiting.append(self._say_dropped(self._dropped))
            self._dropped = 0
        if self._waiting:
            batch = "".join(self._waiting).encode("utf-8", "backslashreplace")
            self._waiting = []
            self._size = 0
            self._batches.put(batch)

    def _written(self) -> None:
        """Hear that the thread has time again."""
        self._planned = bool(self._waiting or self._dropped)
        if self._planned and not self._closed:
            self._loop.call_later(PAUSE_S, self._hand_over)

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            with suppress(OSError):  # nobody reads any more
                self._write(batch)
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._written)


__all__ = ["LineWriter"]
