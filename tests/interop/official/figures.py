"""What a process holds: memory, tasks and file descriptors."""

import asyncio
import gc
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

_PAGES = Path("/proc/self/statm")
_DESCRIPTORS = Path("/proc/self/fd")


@dataclass(frozen=True)
class Figures:
    """What a process holds at one time."""

    resident_kib: int
    tasks: int
    descriptors: int

    @classmethod
    def here(cls) -> Self:
        """Return those of this process; garbage does not count."""
        gc.collect()
        resident_pages = int(_PAGES.read_text("ascii").split()[1])
        return cls(
            resident_pages * os.sysconf("SC_PAGE_SIZE") // 1024,
            len(asyncio.all_tasks()),
            len(list(_DESCRIPTORS.iterdir())),
        )

    @classmethod
    def read(cls, line: str) -> Self:
        """Return what `written` wrote."""
        return cls(**json.loads(line))

    def written(self) -> str:
        """Return a line for another process to read."""
        return json.dumps(asdict(self))

    def idle_as(self, other: "Figures") -> bool:
        """Tell whether exactly as many tasks and file descriptors are open."""
        return (self.tasks, self.descriptors) == (other.tasks, other.descriptors)


def are_known() -> bool:
    """Tell whether this system says what a process holds: Linux does."""
    return _PAGES.exists() and _DESCRIPTORS.exists()
