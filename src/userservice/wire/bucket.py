"""A token bucket: how much may still be spent, where time brings more of it.

It knows no clock: whoever spends says what time it is.
"""


class TokenBucket:
    """What may still be spent; it begins full.

    Args:
        burst: how much may be spent at once.
        per_s: how much comes back in a second.
    """

    __slots__ = ("_burst", "_left", "_per_s", "_since")

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left = burst
        self._since = 0.0

    def take(self, now: float, earned: float = 0.0) -> bool:
        """Spend one, and return whether there was one.

        Args:
            now: the time, in seconds, as it was told before or later.
            earned: what has come by other means than time, since the last one was asked for.
        """
        left = self._left + (now - self._since) * self._per_s + earned
        if left > self._burst:  # noqa: PLR1730  # `min` takes as long as all the rest
            left = self._burst
        self._since = now
        if left < 1:
            self._left = left
            return False
        self._left = left - 1
        return True

    def give_back(self) -> None:
        """Take back that one was spent."""
        self._left = min(self._left + 1, self._burst)

    def is_full(self, now: float) -> bool:
        """Return whether nothing would be lost if another bucket took the place of this one."""
        return self._left + (now - self._since) * self._per_s >= self._burst

    def wait_s(self) -> float:
        """Return how long it takes until there is one, from when one was asked for last."""
        return max(0.0, 1 - self._left) / self._per_s
