"""``userservice users``: one command for each thing to do with users."""

from collections.abc import AsyncIterator, Sequence

import click

from userservice import (
    CreateUserRequest,
    DeleteUserRequest,
    FieldMask,
    GetUserRequest,
    InvalidArgumentError,
    ListUsersRequest,
    NotFoundError,
    Role,
    RpcError,
    UpdateUserRequest,
    User,
    UserServiceClient,
    WatchUserRequest,
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
from userservice.app.cli.csv_commands import export_csv, import_csv
from userservice.app.cli.output import complain, print_event, print_json, print_user
from userservice.app.cli.passwords import read_password
from userservice.app.cli.roles import RoleName

_PAGE_MAX = 1_000  # what the service gives at most
_TABLE_ROWS = 1_000  # of one table; more users come in further tables, without a header


@click.group()
def users() -> None:
    """Create, read, change, delete, watch, import and export users."""


users.add_command(import_csv)
users.add_command(export_csv)


@users.command()
@click.argument("user_id", metavar="ID")
@timeout_option
@server_options
@json_option
def get(*, user_id: str, server: ServerAddress, timeout_s: float, as_json: bool) -> None:
    """Show one user."""
    request = GetUserRequest(id=user_id)
    _show(run(server, lambda client: client.get_user(request), timeout_s), as_json=as_json)


@users.command()
@click.option("--email", required=True, help="One ASCII address; nobody else may have it.")
@click.option("--name", required=True, help="1 to 200 characters.")
@click.option("--role", type=RoleName(), default=Role.UNSPECIFIED, help="USER where not given.")
@click.option(
    "--password-file",
    metavar="FILE",
    help="Its first line is the password, of 8 to 1,024 characters; - for standard input.",
)
@timeout_option
@server_options
@json_option
def create(
    *,
    email: str,
    name: str,
    role: Role,
    password_file: str | None,
    server: ServerAddress,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Create a user, and show it.

    No option takes the password itself: other users of this machine can read command
    lines, and shells remember them.
    """
    password = "" if password_file is None else read_password(password_file)
    request = CreateUserRequest(email=email, name=name, password=password, role=role)
    _show(run(server, lambda client: client.create_user(request), timeout_s), as_json=as_json)


@users.command()
@click.argument("user_id", metavar="ID")
@click.option("--name", help="The new name, of 1 to 200 characters.")
@click.option("--avatar", help="The new avatar, an http(s) URL; '' clears it.")
@click.option("--role", type=RoleName(), help="The new role.")
@timeout_option
@server_options
@json_option
def update(
    *,
    user_id: str,
    name: str | None,
    avatar: str | None,
    role: Role | None,
    server: ServerAddress,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Change what is given of a user, nothing else, and show it."""
    given = {"name": name, "avatar": avatar, "role": role}
    paths = [path for path, value in given.items() if value is not None]
    if not paths:
        context = click.get_current_context()
        raise click.UsageError("Give --name, --avatar or --role.", context)
    request = UpdateUserRequest(
        id=user_id,
        name=name or "",
        avatar=avatar or "",
        role=role or Role.UNSPECIFIED,
        update_mask=FieldMask(paths=paths),
    )
    _show(run(server, lambda client: client.update_user(request), timeout_s), as_json=as_json)


@users.command()
@click.argument("user_ids", metavar="ID...", nargs=-1, required=True)
@timeout_option
@server_options
@json_option
def delete(
    *, user_ids: Sequence[str], server: ServerAddress, timeout_s: float, as_json: bool
) -> int:
    """Delete users.

    One that cannot be deleted does not stop the others: it is a line on standard
    error, and the exit status is 1, or that of the first error where none could be
    deleted. With --json, the request of each deleted user is printed.
    """

    async def delete_each(client: UserServiceClient) -> list[RpcError]:
        failures: list[RpcError] = []
        for user_id in user_ids:
            request = DeleteUserRequest(id=user_id)
            try:
                await client.delete_user(request)
            except (NotFoundError, InvalidArgumentError) as error:
                complain(str(error) if len(user_ids) == 1 else f"{user_id}: {error}")
                failures.append(error)
            else:
                if as_json:
                    print_json(request)
                else:
                    click.echo(f"deleted {user_id}")
        return failures

    failures = run(server, delete_each, timeout_s)
    if not failures:
        return statuses.DONE
    if len(failures) < len(user_ids):
        return statuses.PARTLY_DONE
    return statuses.of_rpc_error(failures[0])


@users.command(name="list")
@list_options
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="How many users at most.")
@click.option(
    "--page-size",
    type=click.IntRange(1, _PAGE_MAX),
    default=_PAGE_MAX,
    show_default=True,
    metavar="N",
    help="How many users to ask for at once.",
)
@timeout_option
@server_options
@json_option
def list_(
    *,
    filter_: str,
    order_by: str,
    limit: int | None,
    page_size: int,
    server: ServerAddress,
    timeout_s: float,
    as_json: bool,
) -> None:
    """List users, all of them without --limit."""
    if limit is not None:
        page_size = min(page_size, limit)
    request = ListUsersRequest(page_size=page_size, filter=filter_, order_by=order_by)

    async def show(client: UserServiceClient) -> None:
        found = _first(client.list_all_users(request), limit)
        if as_json:
            async for user in found:
                print_json(user)
        else:
            await _print_tables(found)

    run(server, show, timeout_s)


@users.command()
@click.argument("user_id", metavar="ID")
@click.option(
    "--resume-token",
    default="",
    metavar="TOKEN",
    help="Go on after the event that had this resumeToken in --json.",
)
@server_options
@json_option
def watch(*, user_id: str, resume_token: str, server: ServerAddress, as_json: bool) -> None:
    """Show a user, then every change of it, until it is deleted."""
    request = WatchUserRequest(id=user_id, resume_token=resume_token)

    async def show(client: UserServiceClient) -> None:
        async with client.watch_user(request) as events:
            async for event in events:
                (print_json if as_json else print_event)(event)

    run(server, show)


def _show(user: User, *, as_json: bool) -> None:
    (print_json if as_json else print_user)(user)


async def _first(found: AsyncIterator[User], limit: int | None) -> AsyncIterator[User]:
    count = 0
    async for user in found:
        yield user
        count += 1
        if count == limit:
            return


async def _print_tables(found: AsyncIterator[User]) -> None:
    from userservice.app.cli.tables import print_users  # noqa: PLC0415 - rich is slow to import

    rows: list[User] = []
    header = True
    async for user in found:
        rows.append(user)
        if len(rows) == _TABLE_ROWS:
            print_users(rows, header=header)
            rows, header = [], False
    if rows or header:
        print_users(rows, header=header)
