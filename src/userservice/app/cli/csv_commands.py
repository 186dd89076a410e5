"""``userservice users import`` and ``export``."""

import csv
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TextIO

import click

from userservice import (
    BatchCreateUsersResponse,
    CreateUserRequest,
    ListUsersRequest,
    User,
    UserServiceClient,
)
from userservice.app.cli import statuses
from userservice.app.cli.calls import (
    ServerAddress,
    json_option,
    list_options,
    run,
    server_options,
    timeout_option,
)
from userservice.app.cli.csv_files import EXPORTED, CsvError, UserRows, export_row
from userservice.app.cli.output import print_json, printable
from userservice.app.cli.progress import Progress, progress
from userservice.app.cli.reading import STANDARD_STREAM, in_background, open_for_reading

_PAGE = 1_000  # users asked for at once: what the service gives at most


@click.command(name="import")
@click.argument("file", metavar="FILE.csv")
@server_options
@json_option
def import_csv(*, file: str, server: ServerAddress, as_json: bool) -> int:
    """Create a user for each row of a CSV file.

    With -, the file is standard input. Its first line names the columns: email and
    name, perhaps role and password, in any order. Other columns are ignored, so an
    export can be imported.

    A refused row does not stop the others: its email is a line on standard error,
    and the exit status is 1. The import ends at a line that is no such row, such as
    one with an unknown role; the users before it are created.
    """
    try:
        source = open_for_reading(file)
    except OSError as error:
        raise _unreadable(file, error) from error
    try:
        rows = UserRows(source, "standard input" if file == STANDARD_STREAM else file)
    except (CsvError, OSError) as error:
        source.close()
        raise _unreadable(file, error) from error
    with progress("importing", _size(source), shown=not source.isatty()) as shown:
        batch = _Batch(source, rows, shown)
        response = run(server, lambda client: client.batch_create_users(batch.users()))
    # Not where the call failed: the thread that reads may hold the file for ever.
    source.close()
    refused = max(response.failed_count, len(response.failed_emails))
    if as_json:
        print_json(response)
    else:
        _print_refused(response, refused)
        click.echo(f"created {response.created_count}, refused {refused}")
    if batch.fault is not None:
        raise click.ClickException(f"{batch.fault}; the rows from there on are not imported")
    return statuses.PARTLY_DONE if refused else statuses.DONE


def _unreadable(file: str, error: CsvError | OSError) -> click.ClickException:
    if isinstance(error, CsvError):
        return click.ClickException(str(error))
    return click.ClickException(f"cannot read {file}: {error.strerror}")


class _Batch:
    """The users of a file on their way to the server.

    Args:
        source: the file, behind the first line.
        rows: its rows.
        shown: where to show how far it is.
    """

    def __init__(self, source: BinaryIO, rows: UserRows, shown: Progress) -> None:
        self.fault: CsvError | OSError | None = None
        """What ended the batch before the end of the file."""
        self._source = source
        self._rows = rows
        self._shown = shown
        self._has_size = _size(source) is not None

    async def users(self) -> AsyncIterator[CreateUserRequest]:
        """Yield the users up to the end of the file, or its first fault."""
        count = 0
        try:
            async for user in in_background(self._rows):
                yield user
                count += 1
                self._shown(count, self._source.tell() if self._has_size else 0)
        except (CsvError, OSError) as error:
            # The batch ends as at the end of the file: what was sent until here is
            # stored, and the server says how much it is.
            self.fault = error


def _print_refused(response: BatchCreateUsersResponse, refused: int) -> None:
    for email in response.failed_emails:
        click.echo(f"refused: {printable(email)}", err=True)
    untold = refused - len(response.failed_emails)
    if untold:
        click.echo(f"refused: {untold} more", err=True)


def _size(file: BinaryIO) -> int | None:
    return os.fstat(file.fileno()).st_size if file.seekable() else None


@click.command(name="export")
@click.argument("file", metavar="[FILE.csv]", default=STANDARD_STREAM)
@list_options
@timeout_option
@server_options
@json_option
def export_csv(
    *,
    file: str,
    filter_: str,
    order_by: str,
    server: ServerAddress,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Write users as CSV, or with --json as ProtoJSON.

    Without a file, or with -, to standard output. The columns are id, email, name,
    avatar, role, created_at and updated_at; times are RFC 3339 in UTC. The file is there
    when it is complete, and not before. Values stand as they are: a spreadsheet may take
    one that starts with = for a formula.
    """
    request = ListUsersRequest(page_size=_PAGE, filter=filter_, order_by=order_by)
    write = _JsonLines if as_json else _CsvRows
    if file == STANDARD_STREAM:
        with open(1, "w", encoding="utf-8", newline="", closefd=False) as output:
            run(server, lambda client: _write_all(client, request, write(output)), timeout_s)
        return
    try:
        with _replacing(Path(file)) as output:
            count = run(
                server, lambda client: _write_all(client, request, write(output)), timeout_s
            )
    except OSError as error:
        raise click.ClickException(f"cannot write {file}: {error.strerror}") from error
    click.echo(f"exported {count}")


class _CsvRows:
    """Writes users as the rows of a table."""

    def __init__(self, output: TextIO) -> None:
        self.output = output
        self._writer = csv.writer(output, lineterminator="\n")

    def head(self) -> None:
        """Write what stands before the users."""
        self._writer.writerow(EXPORTED)

    def user(self, user: User) -> None:
        """Write a user."""
        self._writer.writerow(export_row(user))


class _JsonLines:
    """Writes users as ProtoJSON, one a line."""

    def __init__(self, output: TextIO) -> None:
        self.output = output

    def head(self) -> None:
        """Write what stands before the users: nothing."""

    def user(self, user: User) -> None:
        """Write a user."""
        self.output.write(f"{user.to_json()}\n")


async def _write_all(
    client: UserServiceClient, request: ListUsersRequest, writer: _CsvRows | _JsonLines
) -> int:
    # Nothing is written before it is known that the filter and the order are right.
    first = await client.list_users(replace(request, page_size=1))
    writer.head()
    count = 0
    with progress("exporting", first.total_count, shown=not writer.output.isatty()) as shown:
        async for user in client.list_all_users(request):
            writer.user(user)
            count += 1
            shown(count, count)
    return count


@contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    """Write a file that takes the place of this one when it is complete."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        # A device or a pipe, /dev/stdout for one: it is written, and stays.
        with path.open("w", encoding="utf-8", newline="") as output:
            yield output
        return
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("x", encoding="utf-8", newline="") as output:
            if path.exists():
                part.chmod(path.stat().st_mode & 0o777)  # What was private stays it.
            yield output
            output.flush()
            os.fsync(output.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
