"""Reading what makes one wait, such as a pipe or a terminal, beside a call that must go on."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

T = TypeVar("T")

STANDARD_STREAM = "-"
_AHEAD = 64  # items that are read, and not yet taken
_PIECE_MAX = 65_536  # characters; a longer line comes in pieces


@dataclass(frozen=True, slots=True)
class _End:
    """The items are at an end, or reading them raised this."""

    error: Exception | None = None


async def in_background(items: Iterable[T]) -> AsyncGenerator[T, None]:
    """Iterate over items in a thread of their own, only a few of them ahead.

    The thread dies with the program: one that waits for a terminal cannot be woken.

    Args:
        items: iterated over in the thread; what it raises comes out here.
    """
    loop = asyncio.get_running_loop()
    read: asyncio.Queue[T | _End] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)

    def put(item: T | _End) -> None:
        with suppress(RuntimeError):  # The loop is closed: nobody waits for items.
            loop.call_soon_threadsafe(read.put_nowait, item)

    def read_all() -> None:
        try:
            for item in items:
                room.acquire()
                put(item)
        except Exception as error:  # noqa: BLE001 - raised again where the items are taken
            put(_End(error))
        else:
            put(_End())

    threading.Thread(target=read_all, daemon=True).start()
    while not isinstance(item := await read.get(), _End):
        room.release()
        yield item
    if item.error is not None:
        raise item.error


def open_for_reading(file: str) -> BinaryIO:
    """Open a file, or standard input for ``-``, as bytes.

    Standard input gets an object of its own. The one in ``sys`` is locked while a
    thread waits for it, and the interpreter cannot exit.
    """
    return open(0, "rb", closefd=False) if file == STANDARD_STREAM else Path(file).open("rb")


def standard_input_lines() -> Iterator[str]:
    """Yield the lines of standard input, each as soon as it is there, without its end."""
    with open(0, encoding="utf-8", errors="replace", closefd=False) as text:
        while line := text.readline(_PIECE_MAX):
            yield line.removesuffix("\n")
