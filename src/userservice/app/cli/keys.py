"""``userservice keys``: the keys that sign the tokens of users, on the database itself."""

import datetime

import click

from userservice.app.cli.database import database_option
from userservice.app.cli.on_database import on_database
from userservice.users.signing_keys import RETIRED_FOR


@click.group()
def keys() -> None:
    """Change the key that signs the tokens of users."""


@keys.command()
@click.option(
    "--forget-old",
    is_flag=True,
    help="Refuse the tokens of all older keys within a second, as when one was stolen.",
)
@database_option
def rotate(*, forget_old: bool, database: str) -> None:
    """Make a new key; running servers sign with it within a second.

    Tokens of the key before are good until they expire.
    """
    retired_for = datetime.timedelta(0) if forget_old else RETIRED_FOR
    key = on_database(database, lambda repository: repository.rotate_signing_key(retired_for))
    click.echo(f"key {key.generation} signs from now on")
