"""``userservice admin``: admins, on the database itself; the first one has nobody to make it."""

from contextlib import closing

import click

from userservice.app.cli.database import database_option
from userservice.app.cli.on_database import on_database
from userservice.app.cli.passwords import read_password
from userservice.app.cli.reading import STANDARD_STREAM
from userservice.users import rules
from userservice.users.creation import Creation, Draft
from userservice.users.errors import EmailTakenError, InvalidRequestError
from userservice.users.model import Role
from userservice.users.passwords import PasswordHasher
from userservice.users.storage.urls import Repository


@click.group()
def admin() -> None:
    """Make admins, on the database itself."""


@admin.command()
@click.option("--email", required=True, help="One ASCII address; nobody else may have it.")
@click.option("--name", required=True, help="1 to 200 characters; of who is there, it stays.")
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
    """Create an admin, also while a server has the database open.

    Without --password-file, it asks for the password.
    """
    if password_file is None and not promote:
        password_file = STANDARD_STREAM
    password = "" if password_file is None else read_password(password_file)

    async def make(repository: Repository) -> str:
        checks = rules.Checks()
        checks.check("email", rules.email, email)
        checks.check("password", rules.password, password)
        checks.done()
        with closing(PasswordHasher()) as hasher:
            if promote:
                password_hash = await hasher.hash(password) if password else None
                user_id = await repository.promote(email, password_hash)
                if user_id is not None:
                    return f"{email} is an admin now, id {user_id}"
            draft = Draft(email, name, Role.ADMIN, password)
            user = await Creation(repository, hasher).create(draft)
            return f"created {user.id}"

    try:
        click.echo(on_database(database, make, new=True))
    except EmailTakenError as error:
        raise click.ClickException(
            f"a user has the email {email}: with --promote, it becomes an admin"
        ) from error
    except InvalidRequestError as error:
        raise click.ClickException(str(error)) from error
