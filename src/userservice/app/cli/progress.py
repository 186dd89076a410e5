"""How far long work is, for people at a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]
"""Takes how many users are done, and how much of the whole that is."""


@contextmanager
def progress(label: str, total: int | None, *, shown: bool) -> Iterator[Progress]:
    """Show how far long work is, on standard error, for as long as the block runs.

    Args:
        label: what is under way.
        total: how much the whole is; None where nobody knows.
        shown: whether to show it at all; it never shows where there is no terminal.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda _users, _done: None
        return
    # Rich is slow to import, and most work has no terminal to show itself on.
    from rich import progress as bars  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    with bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TextColumn("{task.fields[users]:,} users"),
        bars.TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as display:
        task = display.add_task(label, total=total, users=0)
        yield lambda users, done: display.update(task, users=users, completed=done)
