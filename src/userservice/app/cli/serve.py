"""``userservice serve``."""

import asyncio
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from userservice.app.access_log import AccessLogSettings
from userservice.app.auth import AuthSettings
from userservice.app.cli.access_log_options import access_log_options
from userservice.app.cli.auth_options import auth_options
from userservice.app.cli.database import database_option
from userservice.app.cli.limits import Limit, LimitValue, limits_of
from userservice.app.cli.numbers import Number
from userservice.app.cli.rate_options import rate_options
from userservice.app.cli.server_tls import server_tls_options
from userservice.app.cli.telemetry_options import metrics_options, tracing_options
from userservice.app.errors import ServeError
from userservice.app.logs import LEVELS, LogFormat, configure_logs
from userservice.app.rates import RateSettings
from userservice.app.serve import ServeSettings, TlsFiles
from userservice.app.serve import serve as serve_users
from userservice.app.telemetry.settings import MetricsSettings, TracingSettings
from userservice.rpc import Encoding, Keepalive, Lifetime

_DEFAULTS = ServeSettings()
_TIME = Number(0, min_open=True)


class FileMode(click.ParamType[int]):
    """An option that takes file permissions, as chmod does: three octal digits."""

    name = "mode"

    def convert(
        self, value: int | str, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the number; fails where it is none."""
        if isinstance(value, int):
            return value
        if not re.fullmatch("0?[0-7]{3}", value):
            self.fail(f"{value!r} is no file permissions; they are like 600 or 660.", param, ctx)
        return int(value, 8)


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
    "--unix",
    type=click.Path(path_type=Path),
    envvar="USERSERVICE_UNIX",
    show_envvar=True,
    metavar="PATH",
    help="The Unix socket to listen on, in place of host and port.",
)
@click.option(
    "--unix-mode",
    type=FileMode(),
    default="600",
    envvar="USERSERVICE_UNIX_MODE",
    show_default=True,
    show_envvar=True,
    help="Who may connect to the Unix socket, as file permissions.",
)
@server_tls_options
@auth_options
@database_option
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
    "--drain-timeout",
    "drain_timeout_s",
    type=Number(0),
    default=_DEFAULTS.drain_timeout_s,
    envvar="USERSERVICE_DRAIN_TIMEOUT",
    show_default=True,
    show_envvar=True,
    metavar="SECONDS",
    help="How long calls under way may go on when the server is asked to stop.",
)
@click.option(
    "--max-connection-age",
    "max_age_s",
    type=_TIME,
    envvar="USERSERVICE_MAX_CONNECTION_AGE",
    show_envvar=True,
    metavar="SECONDS",
    help="How old a connection may become, a tenth more or less; any age by default.",
)
@click.option(
    "--max-connection-age-grace",
    "age_grace_s",
    type=Number(0),
    envvar="USERSERVICE_MAX_CONNECTION_AGE_GRACE",
    show_envvar=True,
    metavar="SECONDS",
    help="How long its calls may go on after that; as long as they take by default.",
)
@click.option(
    "--max-connection-idle",
    "max_idle_s",
    type=_TIME,
    envvar="USERSERVICE_MAX_CONNECTION_IDLE",
    show_envvar=True,
    metavar="SECONDS",
    help="How long a connection may have no call; as long as it likes by default.",
)
@click.option(
    "--keepalive-time",
    "keepalive_s",
    type=_TIME,
    default=_DEFAULTS.keepalive.interval_s,
    envvar="USERSERVICE_KEEPALIVE_TIME",
    show_default=True,
    show_envvar=True,
    metavar="SECONDS",
    help="The time between two pings that find out whether a client is still there.",
)
@click.option(
    "--keepalive-timeout",
    "keepalive_timeout_s",
    type=_TIME,
    default=_DEFAULTS.keepalive.timeout_s,
    envvar="USERSERVICE_KEEPALIVE_TIMEOUT",
    show_default=True,
    show_envvar=True,
    metavar="SECONDS",
    help="How long a client may take to answer such a ping.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=_DEFAULTS.workers,
    envvar="USERSERVICE_WORKERS",
    show_default=True,
    show_envvar=True,
    help="How many processes serve; with more than one, a supervisor keeps them running.",
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
@click.option(
    "--channelz",
    is_flag=True,
    envvar="USERSERVICE_CHANNELZ",
    show_envvar=True,
    help="Serve channelz: who asks is told of all connections, and the addresses of all clients.",
)
@metrics_options
@tracing_options
@access_log_options
@rate_options
@click.option(
    "--middleware",
    multiple=True,
    envvar="USERSERVICE_MIDDLEWARE",
    show_envvar=True,
    metavar="MODULE:CLASS",
    help="A middleware of your own, which sees every call; any number of times.",
)
def serve(
    host: str,
    port: int,
    unix: Path | None,
    unix_mode: int,
    tls: TlsFiles | None,
    auth: AuthSettings,
    database: str,
    log_level: str,
    log_format: str,
    compression: str | None,
    drain_timeout_s: float,
    max_age_s: float | None,
    age_grace_s: float | None,
    max_idle_s: float | None,
    keepalive_s: float,
    keepalive_timeout_s: float,
    workers: int,
    limits: tuple[Limit, ...],
    channelz: bool,  # noqa: FBT001  # click passes it by its name
    metrics: MetricsSettings | None,
    tracing: TracingSettings | None,
    access_log: AccessLogSettings,
    rates: RateSettings,
    middleware: tuple[str, ...],
) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP; calls under way may end first, see --drain-timeout.

    A second signal ends it at once.
    """
    logs = partial(configure_logs, log_level, LogFormat(log_format))
    logs()
    settings = ServeSettings(
        host=host,
        port=port,
        unix=unix,
        unix_mode=unix_mode,
        tls=tls,
        auth=auth,
        database=database,
        limits=limits_of(limits),
        lifetime=Lifetime(max_age_s=max_age_s, age_grace_s=age_grace_s, max_idle_s=max_idle_s),
        keepalive=Keepalive(
            interval_s=keepalive_s, timeout_s=keepalive_timeout_s, without_calls=True
        ),
        drain_timeout_s=drain_timeout_s,
        compression=None if compression is None else Encoding(compression),
        workers=workers,
        channelz=channelz,
        metrics=metrics,
        tracing=tracing,
        access_log=access_log,
        rates=rates,
        middleware=middleware,
    )
    if workers == 1:
        serving = serve_users(settings, _announce)
    else:
        from userservice.app.workers.supervisor import serve_with_workers  # noqa: PLC0415  # 6 ms

        serving = serve_with_workers(settings, _announce, logs)
    try:
        asyncio.run(serving)
    except ServeError as error:
        raise click.ClickException(str(error)) from error


def _announce(addresses: Sequence[str]) -> None:
    click.echo(f"userservice is ready on {', '.join(addresses)}")
