"""How fast a client calls: so many calls under way, for a while."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """What a client is asked to do.

    Args:
        port: where the server is.
        under_way: how many calls at once.
        seconds: how long.
        warm_up: how long before that, uncounted.
    """

    port: int
    under_way: int
    seconds: float
    warm_up: float

    @classmethod
    def from_command_line(cls) -> "Pace":
        """Read it from the arguments of the program."""
        port, under_way, seconds, warm_up = sys.argv[1:]
        return cls(int(port), int(under_way), float(seconds), float(warm_up))

    async def keep(self, call: Callable[[], Awaitable[object]], expected: object) -> None:
        """Call, compare every reply, and print how many there were in a second."""
        await self._repeat(call, expected, self.warm_up)
        used = time.process_time()
        took = await self._repeat(call, expected, self.seconds)
        used = time.process_time() - used
        count = len(took)
        print(
            json.dumps(
                {
                    "per_second": count / self.seconds,
                    "p50_us": took[count // 2] * 1e6,
                    "p99_us": took[min(int(count * 0.99), count - 1)] * 1e6,
                    "cpu_us": used / count * 1e6,
                }
            )
        )

    async def _repeat(
        self, call: Callable[[], Awaitable[object]], expected: object, seconds: float
    ) -> list[float]:
        """Call for a while, and return how long each call took, sorted."""
        end = time.perf_counter() + seconds
        took: list[float] = []

        async def repeat() -> None:
            before = time.perf_counter()
            while before < end:
                reply = await call()
                after = time.perf_counter()
                if reply != expected:
                    sys.exit(f"a reply is not what was expected: {reply}")
                if after <= end:
                    took.append(after - before)
                before = after

        async with asyncio.TaskGroup() as group:
            for _ in range(self.under_way):
                group.create_task(repeat())
        if seconds and not took:
            sys.exit("no call was answered in time")
        return sorted(took)
