"""SIGTERM and SIGINT: the first asks to stop, the second to stop now."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def _nothing() -> None:
    """What can be done before there is anything to end."""


@dataclass(slots=True)
class Stop:
    """What the signals ask for."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first signal."""
    now: Callable[[], None] = _nothing
    """Called for the second. One more ends the process as if nobody listened."""


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Listen to the signals for as long as the block runs."""
    loop = asyncio.get_running_loop()
    stop = Stop()

    def listen_no_more() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    def heard() -> None:
        if stop.asked.is_set():
            listen_no_more()
            stop.now()
        stop.asked.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, heard)
    try:
        yield stop
    finally:
        listen_no_more()
