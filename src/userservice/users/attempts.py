"""How often somebody may try: buckets of attempts that fill again, in bounded memory."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

KEPT_MAX = 10_000
"""How many keys are remembered; beyond, whoever has tried least recently is forgotten."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many attempts there are.

    Args:
        at_once: how many one after the other.
        every_s: how long until there is another one, in seconds.
    """

    at_once: int
    every_s: float


class Attempts:
    """Counts attempts by a key; each takes one, and those that succeed give it back.

    A key that is not remembered has all its attempts: an attacker who has enough addresses
    to push it out gains a bucket for so many tries.

    Args:
        allowance: how many each key has.
        clock: tells the time in seconds.
        kept_max: how many keys are remembered.
    """

    def __init__(
        self, allowance: Allowance, clock: Callable[[], float], kept_max: int = KEPT_MAX
    ) -> None:
        self._allowance = allowance
        self._clock = clock
        self._kept_max = kept_max
        # When the bucket of a key is full again, the key tried last at the end: all that
        # there is to know of it (the generic cell rate algorithm).
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, key: str) -> float:
        """Return how long until this key may try, in seconds; 0 for now."""
        missing_s = self._full_at.get(key, 0.0) - self._clock()
        every_s = self._allowance.every_s
        return max(0.0, missing_s - (self._allowance.at_once - 1) * every_s)

    def take(self, key: str) -> None:
        """Count an attempt."""
        full_at = max(self._full_at.pop(key, 0.0), self._clock())
        self._full_at[key] = full_at + self._allowance.every_s
        if len(self._full_at) > self._kept_max:
            self._full_at.popitem(last=False)

    def give_back(self, key: str) -> None:
        """Take an attempt as not made."""
        if key in self._full_at:
            self._full_at[key] -= self._allowance.every_s

    def forget(self, key: str) -> None:
        """Give all attempts of a key back."""
        self._full_at.pop(key, None)
