"""The clock of keepalive: pings that find out whether the peer is still there (gRFC A8)."""

import asyncio
from collections.abc import Callable
from typing import Final

from userservice.rpc.lifetime import Keepalive

_PAYLOAD: Final = b"alive?\0\0"


class KeepaliveClock:
    """The clock of one connection's pings.

    Args:
        settings: how often, and how long an answer may take.
        loop: the loop whose clock counts.
        ping: sends a ping, or returns False where none is due.
        unanswered: is called when the answer does not come in time.
    """

    def __init__(
        self,
        settings: Keepalive,
        loop: asyncio.AbstractEventLoop,
        ping: Callable[[bytes], bool],
        unanswered: Callable[[], None],
    ) -> None:
        self.settings = settings
        self._loop = loop
        self._ping = ping
        self._unanswered = unanswered
        self._next: asyncio.TimerHandle | None = None
        self._timeout: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Ask for the first time after the interval."""
        if self.settings.interval_s is not None:
            self._next = self._loop.call_later(self.settings.interval_s, self._ask)

    def stop(self) -> None:
        """Ask no more."""
        for timer in (self._next, self._timeout):
            if timer is not None:
                timer.cancel()
        self._next = self._timeout = None

    def acknowledged(self) -> None:
        """Hear the answer."""
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    def _ask(self) -> None:
        if self._timeout is None and self._ping(_PAYLOAD):
            self.wait()
        self.start()

    def wait(self) -> None:
        """Wait for the answer, or wait again where it may still be on its way."""
        self._timeout = self._loop.call_later(self.settings.timeout_s, self._unanswered)
