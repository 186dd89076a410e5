"""A server and a client, in two processes, make calls of every kind for a while.

A soak is good where each call ends as it should, and where both come back to what they held
after the warm-up: as many tasks and file descriptors, and memory within the tolerance.
"""

import asyncio
import itertools
import random
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.interop.official.figures import Figures
from tests.soak.calls import ROUND, WrongAnswerError, check

from userservice.rpc import Channel, connect

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "tests/interop/official/server.py"
PATIENCE_S: Final = 60

CHANNELS: Final = 4  # at a time; each is closed after a round, and another takes its place
ROUNDS_ABREAST: Final = 4  # on each channel
WARM_UP_ROUNDS: Final = 1000  # or as many as are made afterwards, where those are fewer
# What the allocator keeps differs by some hundred KiB from one time to the next. A leak of 64
# bytes a call would be 25 MiB in the 400,000 calls of the session.
TOLERANCE_KIB: Final = 4096

Kind = Callable[[Channel], Awaitable[None]]


class Server:
    """Our server, as another process."""

    def __init__(self, process: Process, address: str) -> None:
        self._process = process
        self.address = address

    @classmethod
    async def start(cls) -> "Server":
        """Start it, and wait until it is ready."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(SERVER), stdin=DEVNULL, stdout=PIPE
        )
        return cls(process, (await cls._line(process)).split()[-1])

    @staticmethod
    async def _line(process: Process) -> str:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await process.stdout.readline()
        check(bool(line), "the server ended")
        return line.decode()

    async def figures(self) -> Figures:
        """Return what it holds."""
        self._process.send_signal(signal.SIGUSR1)
        return Figures.read(await self._line(self._process))

    async def stop(self) -> None:
        """End it."""
        self._process.kill()
        await self._process.wait()


async def soak(address: str, rounds: int) -> Counter[str]:
    """Make the calls, and return how many of each kind they were."""
    made: Counter[str] = Counter()
    left = iter(range(rounds))
    await asyncio.gather(*(use_channels(address, left, made) for _ in range(CHANNELS)))
    return made


async def use_channels(address: str, left: Iterator[int], made: Counter[str]) -> None:
    """Make rounds on one channel after the other, until none are left."""
    while numbers := list(itertools.islice(left, ROUNDS_ABREAST)):
        async with connect(address) as channel:
            await asyncio.gather(*(make_round(channel, number, made) for number in numbers))


async def make_round(channel: Channel, number: int, made: Counter[str]) -> None:
    """Make the calls of a round one by one; its number says in which order."""
    kinds: Sequence[Kind] = list(ROUND.elements())
    for kind in random.Random(number).sample(kinds, len(kinds)):
        async with asyncio.timeout(PATIENCE_S):
            await kind(channel)
        made[kind.__name__] += 1


async def at_rest(server: Server, like: tuple[Figures, Figures] | None) -> tuple[Figures, Figures]:
    """Return what both hold, as soon as it is as many tasks and descriptors as before.

    The first time, as soon as it does not change any more.
    """
    before = like
    end_at = time.monotonic() + PATIENCE_S
    while True:
        now = (await server.figures(), Figures.here())
        same = before is not None and all(map(Figures.idle_as, now, before))
        if same or time.monotonic() > end_at:
            return now
        before = like or now
        await asyncio.sleep(0.1)


async def run(calls: int) -> int:
    """Make about as many calls, print what came of it, and return 0 where all was well."""
    rounds = max(calls // ROUND.total(), 1)
    server = await Server.start()
    try:
        await soak(server.address, min(rounds, WARM_UP_ROUNDS))
        before = await at_rest(server, None)
        start = time.monotonic()
        made = await soak(server.address, rounds)
        took_s = time.monotonic() - start
        after = await at_rest(server, before)
    except WrongAnswerError as error:
        print("failed:", error)
        return 1
    finally:
        await server.stop()
    print(
        f"{made.total()} calls in {took_s:.0f} s:", ", ".join(f"{n} {k}" for k, n in made.items())
    )
    return report(("server", "client"), before, after)


def report(
    names: tuple[str, str], before: tuple[Figures, Figures], after: tuple[Figures, Figures]
) -> int:
    """Print what each process held before and after, and return 0 where it is as much."""
    print(f"{'':8}{'memory (KiB)':>20}{'tasks':>12}{'descriptors':>14}")
    good = True
    for name, first, last in zip(names, before, after, strict=True):
        print(
            f"{name:8}{first.resident_kib:>9} {last.resident_kib:>9}"
            f"{first.tasks:>6} {last.tasks:>5}{first.descriptors:>8} {last.descriptors:>5}"
        )
        good &= last.idle_as(first)
        good &= last.resident_kib <= first.resident_kib + TOLERANCE_KIB
    print(
        "as after the warm-up" if good else "NOT as after the warm-up",
        f"(memory within {TOLERANCE_KIB} KiB, the rest exactly)",
    )
    return 0 if good else 1
