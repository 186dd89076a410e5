"""Tables of users for people. Rich is slow to import: only who needs a table imports this."""

from collections.abc import Sequence

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from userservice import User
from userservice.app.cli.output import printable, utc
from userservice.app.cli.roles import role_name

_COLUMNS = ["ID", "EMAIL", "NAME", "ROLE", "CREATED"]
_GAP = 2
_FOLDED_MIN = 10  # columns of an email or a name, at least
_NARROWEST = 80  # columns; a narrower terminal wraps lines itself, behind the id
_WITH_TIMES = 110  # columns from which on there is room for a time beside email and name


def print_users(users: Sequence[User], *, header: bool) -> None:
    """Print users for people, as a table: as wide as the terminal, or one line a user."""
    rows = [_cells(user) for user in users]
    console = Console()
    if console.file.isatty():
        lines = _terminal_lines(console, rows, header=header)
    else:
        lines = _plain_lines([_COLUMNS, *rows] if header else rows)
    # Click prints them: rich ends the program when nobody reads it, as in `... | head`.
    click.echo("\n".join(line.rstrip() for line in lines))


def _cells(user: User) -> list[str]:
    cells = [user.id, user.email, user.name, role_name(user.role), utc(user.created_at)]
    return [printable(cell) for cell in cells]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def _plain_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = _widths(rows)
    return [
        (" " * _GAP).join(
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)
        )
        for row in rows
    ]


def _terminal_lines(console: Console, rows: Sequence[Sequence[str]], *, header: bool) -> list[str]:
    console.width = max(console.width, _NARROWEST)
    columns = _COLUMNS if console.width >= _WITH_TIMES else _COLUMNS[:-1]
    rows = [row[: len(columns)] for row in rows]
    widths = dict(zip(columns, _widths([columns, *rows]), strict=True))
    # An email in pieces cannot be copied; a name is still a name on two lines.
    excess = sum(widths.values()) + _GAP * (len(columns) - 1) - console.width
    for column in ("NAME", "EMAIL"):
        width = widths[column]
        widths[column] = min(width, max(width - excess, _FOLDED_MIN))
        excess -= width - widths[column]
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=header)
    for column, width in widths.items():
        table.add_column(column, width=width, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    with console.capture() as printed:
        console.print(table, crop=False)
    return printed.get().splitlines()
