"""``userservice admin``: what is done on the database itself."""

import asyncio

import click

from userservice.app.admin import make_admin
from userservice.app.cli.database import database_option
from userservice.app.cli.passwords import read_password
from userservice.app.cli.reading import STANDARD_STREAM
from userservice.users.errors import EmailTakenError, UsersError


@click.group()
def admin() -> None:
    """Make admins, on the database itself."""


@admin.command()
@click.option("--email", required=True, help="One ASCII address; nobody else may have it.")
@click.option("--name", required=True, help="1 to 200 characters.")
@click.option(
    "--password-file",
    metavar="FILE",
    help="Its first line is the password, of 8 to 1,024 characters; - for standard input.",
)
@click.option(
    "--promote",
    is_flag=True,
    help="Where a user has the email, make it an admin; its password stays, if none is given.",
)
@database_option
def create(
    *, email: str, name: str, password_file: str | None, promote: bool, database: str
) -> None:
    """Create an admin, also while a server runs on the database.

    Without --password-file, it asks for the password.
    """
    if password_file is None and not promote:
        password_file = STANDARD_STREAM
    password = "" if password_file is None else read_password(password_file)
    try:
        made = asyncio.run(make_admin(database, email, name, password, promote=promote))
    except EmailTakenError as error:
        raise click.ClickException(
            f"a user has the email {email}: with --promote, it becomes an admin"
        ) from error
    except UsersError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{email} is an admin now, id {made.id}" if made.promoted else f"created {made.id}")
