"""``userservice tokens``: API tokens, on the database itself."""

import datetime
import json
from collections.abc import Sequence

import click

from userservice.app.cli import statuses
from userservice.app.cli.calls import json_option
from userservice.app.cli.database import database_option
from userservice.app.cli.on_database import on_database
from userservice.app.cli.output import complain, printable, utc
from userservice.users import rules
from userservice.users.api_tokens import NAME_MAX, new_api_token
from userservice.users.filter import Comparison, Operator
from userservice.users.model import Field
from userservice.users.order import parse_order
from userservice.users.storage.keys import ApiToken
from userservice.users.storage.repository import PageQuery
from userservice.users.storage.urls import Repository

_DAYS_MAX = 36_500
_COLUMNS = ("ID", "NAME", "OWNER", "CREATED", "EXPIRES", "USED")


@click.group()
def tokens() -> None:
    """Make, list and revoke API tokens: a program with one acts for its owner.

    They work on the database itself, also while a server has it open.
    """


@tokens.command()
@click.argument("owner", metavar="OWNER")
@click.option("--token-name", required=True, metavar="TEXT", help="What the token is for.")
@click.option(
    "--expires-in",
    type=click.IntRange(1, _DAYS_MAX),
    metavar="DAYS",
    help="How long it is good; for ever where not given.",
)
@database_option
def create(*, owner: str, token_name: str, expires_in: int | None, database: str) -> None:
    """Make a token for the user with this id or email, and print it: this once.

    Only a hash of it is kept.
    """
    name = token_name.strip()
    if not 0 < len(name) <= NAME_MAX or printable(name) != name:
        context = click.get_current_context()
        raise click.UsageError(f"--token-name is a line of 1 to {NAME_MAX} characters.", context)
    now = datetime.datetime.now(datetime.UTC)
    expires_at = None if expires_in is None else now + datetime.timedelta(days=expires_in)

    async def add(repository: Repository) -> str:
        user_id = await _user_id(repository, owner)
        token, text = new_api_token(user_id, name, expires_at)
        if not await repository.add_api_token(token):
            raise click.ClickException(f"there is no user {printable(owner)}")
        return text

    click.echo(on_database(database, add))


@tokens.command(name="list")
@database_option
@json_option
def list_(*, database: str, as_json: bool) -> None:
    """List all tokens; what is secret of them is nowhere."""
    found = on_database(database, lambda repository: repository.api_tokens())
    if as_json:
        for token in found:
            click.echo(json.dumps(_as_json(token), ensure_ascii=False))
        return
    rows = [_COLUMNS, *map(_cells, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@tokens.command()
@click.argument("token_ids", metavar="ID...", nargs=-1, required=True)
@database_option
def revoke(*, token_ids: Sequence[str], database: str) -> int:
    """Revoke tokens: the next call with one is refused, by every running server.

    Calls that are under way go on.
    """

    async def revoke_each(repository: Repository) -> list[str]:
        return [one for one in token_ids if not await repository.revoke_api_token(one)]

    missing = on_database(database, revoke_each)
    for token_id in token_ids:
        if token_id in missing:
            complain(f"there is no token {token_id}")
        else:
            click.echo(f"revoked {token_id}")
    if not missing:
        return statuses.DONE
    return statuses.MISTAKE if len(missing) == len(token_ids) else statuses.PARTLY_DONE


async def _user_id(repository: Repository, owner: str) -> str:
    """Return the id of a user, who is named by it or by an email."""
    if "@" not in owner:
        return owner
    has_email = Comparison(Field.EMAIL, Operator.EQ, rules.email_key(owner))
    page = await repository.page(PageQuery(has_email, parse_order(""), 1))
    return page.users[0].id if page.users else owner


def _cells(token: ApiToken) -> tuple[str, ...]:
    return (
        token.id,
        printable(token.name),
        token.user_id,
        utc(token.created_at),
        utc(token.expires_at),
        utc(token.used_at),
    )


def _as_json(token: ApiToken) -> dict[str, str]:
    times = {
        "createdAt": token.created_at,
        "expiresAt": token.expires_at,
        "usedAt": token.used_at,
    }
    return {
        "id": token.id,
        "name": token.name,
        "owner": token.user_id,
        **{name: f"{time:%Y-%m-%dT%H:%M:%S.%fZ}" for name, time in times.items() if time},
    }
