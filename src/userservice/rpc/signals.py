"""SIGTERM, SIGINT and SIGHUP: the first asks to stop, the second to stop now."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

STOP_SIGNALS: Final = frozenset(
    number for number in signal.Signals if number.name in {"SIGINT", "SIGTERM", "SIGHUP"}
)
"""What asks to stop, as far as the platform has it. SIGHUP says that the terminal is gone."""


def _nothing() -> None:
    """What can be done before there is anything to end."""


@dataclass(slots=True)
class Stop:
    """What the signals ask for."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first signal."""
    now: Callable[[], None] = _nothing
    """Called for the second. One more ends the process as if nobody listened."""


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Listen to the signals for as long as the block runs."""
    loop = asyncio.get_running_loop()
    stop = Stop()
    # nohup(1): whoever started this wants it to outlive the terminal.
    numbers = [n for n in STOP_SIGNALS if n.name != "SIGHUP" or not _is_ignored(n)]

    def listen_no_more() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    def heard() -> None:
        if stop.asked.is_set():
            listen_no_more()
            stop.now()
        stop.asked.set()

    for number in numbers:
        loop.add_signal_handler(number, heard)
    try:
        yield stop
    finally:
        listen_no_more()
