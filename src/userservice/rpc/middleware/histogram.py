"""A histogram that costs little: one search, two additions, and no lock.

prometheus_client's own takes five times as long for each value. Only the event loop writes
to these; whoever reads them, on any thread, copies first.
"""

from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import Final

from prometheus_client.core import HistogramMetricFamily

# gRFC A66, "Units".
LATENCY_BOUNDS: Final = (
    *(0, 0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008),
    *(0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008),
    *(0.01, 0.013, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08),
    *(0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8),
    *(1, 2, 5, 10, 20, 50, 100),
)
"""Upper bounds for times, in seconds."""
SIZE_BOUNDS: Final = (
    *(0, 1024, 2048, 4096, 16384, 65536, 262144),
    *(1048576, 4194304, 16777216, 67108864, 268435456, 1073741824, 4294967296),
)
"""Upper bounds for sizes, in bytes."""
COUNT_BOUNDS: Final = (0, *(2**power for power in range(17)))
"""Upper bounds for numbers of things."""


class Histogram:
    """How many values there were up to each bound, and their sum.

    Args:
        bounds: the upper bounds, in order; one more, infinity, is implied.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add what was counted to a family, as the one with these labels."""
        counts = accumulate(self._counts.copy())
        family.add_metric(labels, list(zip(_names(self._bounds), counts, strict=True)), self._sum)


@cache
def _names(bounds: tuple[float, ...]) -> list[str]:
    return [*(str(float(bound)) for bound in bounds), "+Inf"]
