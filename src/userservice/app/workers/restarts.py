"""How long to wait before a worker that ended is started again."""

import random
from collections.abc import Callable
from typing import Final

_FIRST_S: Final = 0.1
_MOST_S: Final = 10.0
_RAN_WELL_S: Final = 30.0


class Backoff:
    """Doubles the wait each time, up to ten seconds; forgets all once a worker ran well.

    Args:
        chance: gives a number from 0 to 1. Workers that fail together are not started
            together.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._wait_s = _FIRST_S

    def wait_s(self, ran_s: float) -> float:
        """Return how long to wait, in seconds.

        Args:
            ran_s: how long the worker served; 0 where it never did.
        """
        if ran_s >= _RAN_WELL_S:
            self._wait_s = _FIRST_S
        wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, _MOST_S)
        return wait_s * (0.75 + 0.5 * self._chance())
