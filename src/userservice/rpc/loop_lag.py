"""How late the event loop is: what a call waits when others keep the loop."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def measured_lag(every_s: float, heard: Callable[[float], None]) -> Iterator[None]:
    """Set a timer again and again, and tell how much later than it should it fires.

    Args:
        every_s: how long the timer is set for, in seconds.
        heard: is told how late it was, in seconds.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def fired() -> None:
        now = loop.time()
        heard(max(now - timer.when(), 0.0))
        set_from(now)

    def set_from(now: float) -> None:
        nonlocal timer
        timer = loop.call_at(now + every_s, fired)

    set_from(loop.time())
    try:
        yield
    finally:
        timer.cancel()
