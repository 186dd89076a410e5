"""``userservice serve``."""

import asyncio
from collections.abc import Sequence

import click

from userservice.app.cli.limits import Limit, LimitValue, limits_of
from userservice.app.logs import LEVELS, LogFormat, configure_logs
from userservice.app.serve import ServeError, ServeSettings
from userservice.app.serve import serve as serve_users
from userservice.rpc import Encoding

_DEFAULTS = ServeSettings()


@click.command()
@click.option(
    "--host",
    default=_DEFAULTS.host,
    envvar="USERSERVICE_HOST",
    show_default=True,
    show_envvar=True,
    help="The address or name to listen on.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_DEFAULTS.port,
    envvar="USERSERVICE_PORT",
    show_default=True,
    show_envvar=True,
    help="The port to listen on; 0 for any free one.",
)
@click.option(
    "--database",
    default=_DEFAULTS.database,
    envvar="USERSERVICE_DATABASE",
    show_default=True,
    show_envvar=True,
    metavar="URL",
    help="Where users are kept: sqlite:///PATH, or memory: for as long as it runs.",
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="info",
    envvar="USERSERVICE_LOG_LEVEL",
    show_default=True,
    show_envvar=True,
    help="The lowest level that is logged.",
)
@click.option(
    "--log-format",
    type=click.Choice([item.value for item in LogFormat]),
    default=LogFormat.TEXT.value,
    envvar="USERSERVICE_LOG_FORMAT",
    show_default=True,
    show_envvar=True,
    help="Text for people, JSON for programs; on standard error.",
)
@click.option(
    "--compression",
    type=click.Choice([encoding.value for encoding in Encoding]),
    envvar="USERSERVICE_COMPRESSION",
    show_envvar=True,
    help="What replies are compressed with, where the client reads it; nothing by default.",
)
@click.option(
    "--peer-limit",
    "limits",
    type=LimitValue(),
    multiple=True,
    envvar="USERSERVICE_PEER_LIMIT",
    show_envvar=True,
    help="How much is taken of clients, such as max_connections=100; any number of times.",
)
def serve(
    host: str,
    port: int,
    database: str,
    log_level: str,
    log_format: str,
    compression: str | None,
    limits: tuple[Limit, ...],
) -> None:
    """Serve until SIGTERM or SIGINT."""
    configure_logs(log_level, LogFormat(log_format))
    settings = ServeSettings(
        host,
        port,
        database,
        limits_of(limits),
        None if compression is None else Encoding(compression),
    )
    try:
        asyncio.run(serve_users(settings, _announce))
    except ServeError as error:
        raise click.ClickException(str(error)) from error


def _announce(addresses: Sequence[str]) -> None:
    click.echo(f"userservice is ready on {', '.join(addresses)}")
