"""The option that names the database, for every command that opens it."""

import click

from userservice.app.serve import ServeSettings

database_option = click.option(
    "--database",
    default=ServeSettings().database,
    envvar="USERSERVICE_DATABASE",
    show_default=True,
    show_envvar=True,
    metavar="URL",
    help="Where users are kept: sqlite:///PATH, or memory: for as long as it runs.",
)
