"""The options of the access log."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from userservice.app.access_log import AccessLogSettings
from userservice.app.cli.numbers import Number
from userservice.app.logs import LogFormat
from userservice.rpc.middleware.access_log import check_key

_DEFAULTS = AccessLogSettings()


class _Key(click.ParamType[str]):
    """An option that takes a key of metadata which may be logged."""

    name = "key"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the key; fails where it may not be logged."""
        try:
            check_key(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        return value


def access_log_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options, and hand the command ``access_log``; the format is ``log_format``'s."""

    @click.option(
        "--access-log",
        "access_log_on",
        is_flag=True,
        envvar="USERSERVICE_ACCESS_LOG",
        show_envvar=True,
        help="Log a line for each call, when it has ended.",
    )
    @click.option(
        "--access-log-sample",
        "sample",
        type=click.IntRange(1),
        default=_DEFAULTS.sample,
        envvar="USERSERVICE_ACCESS_LOG_SAMPLE",
        show_default=True,
        show_envvar=True,
        metavar="N",
        help="Log one of N calls that end well and soon; all others are logged.",
    )
    @click.option(
        "--access-log-slow",
        "slow_s",
        type=Number(0),
        default=_DEFAULTS.slow_s,
        envvar="USERSERVICE_ACCESS_LOG_SLOW",
        show_default=True,
        show_envvar=True,
        metavar="SECONDS",
        help="From when on a call is slow.",
    )
    @click.option(
        "--access-log-metadata",
        "keys",
        type=_Key(),
        multiple=True,
        envvar="USERSERVICE_ACCESS_LOG_METADATA",
        show_envvar=True,
        metavar="KEY",
        help="A key of the metadata that is logged too; any number of times.",
    )
    @wraps(command)
    def with_settings(
        *,
        access_log_on: bool,
        sample: int,
        slow_s: float,
        keys: tuple[str, ...],
        **others: Any,
    ) -> None:
        settings = AccessLogSettings(
            access_log_on, LogFormat(others["log_format"]), sample, slow_s, keys
        )
        command(access_log=settings, **others)

    return with_settings
