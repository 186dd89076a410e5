"""A token bucket for each caller, of any number of callers, in bounded memory.

A bucket that is full says nothing, and may be forgotten. One that is not is a debt: whoever could
make it be forgotten, by calling from many addresses, would be free of it. So a table that is full
forgets the bucket that was used longest ago where it has filled up meanwhile, and no other. A
caller that finds no place then spends from one of a fixed number of buckets that are shared.
"""

from collections import OrderedDict
from typing import Final

from userservice.wire.bucket import TokenBucket

MOST: Final = 16_384
_SHARED: Final = 1_024


class Buckets:
    """Finds each caller's bucket, in constant time.

    Args:
        burst: how much a caller may spend at once.
        per_s: how much comes back in a second.
        most: how many callers have a bucket of their own.
    """

    def __init__(self, burst: float, per_s: float, most: int = MOST) -> None:
        self._burst = burst
        self._per_s = per_s
        self._most = most
        self._own: OrderedDict[str, TokenBucket] = OrderedDict()  # the last is who spent last
        self._shared: dict[int, TokenBucket] = {}

    def __len__(self) -> int:
        return len(self._own) + len(self._shared)

    def of(self, caller: str, now: float) -> TokenBucket:
        """Return the bucket of a caller, who is about to spend.

        Args:
            caller: who it is.
            now: the time, in seconds.
        """
        own = self._own
        bucket = own.get(caller)
        if bucket is not None:
            own.move_to_end(caller)
            return bucket
        if len(own) >= self._most:
            oldest = next(iter(own))
            if not own[oldest].is_full(now):
                return self._shared_by(caller)
            del own[oldest]
        bucket = own[caller] = TokenBucket(self._burst, self._per_s)
        return bucket

    def _shared_by(self, caller: str) -> TokenBucket:
        # Python's hash of a text is another one in each process: nobody can choose the place.
        place = hash(caller) % _SHARED
        bucket = self._shared.get(place)
        if bucket is None:
            bucket = self._shared[place] = TokenBucket(self._burst, self._per_s)
        return bucket
