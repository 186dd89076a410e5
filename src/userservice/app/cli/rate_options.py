"""The options of the limits on callers."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import click

from userservice.app.cli.numbers import Number
from userservice.app.rates import RateSettings
from userservice.rpc.middleware.rates import Rate, RateError, parse_rate


class RateValue(click.ParamType[Rate]):
    """An option that takes a rate; in a variable, there are semicolons between several."""

    name = "rate"

    def convert(
        self, value: Rate | str, param: click.Parameter | None, ctx: click.Context | None
    ) -> Rate:
        """Return the rate; fails where the text is none."""
        if isinstance(value, Rate):
            return value
        try:
            return parse_rate(value)
        except RateError as error:
            self.fail(f"{error}.", param, ctx)

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        """Return the rates that a variable has: there are blanks in them."""
        return [text for text in rv.split(";") if text.strip()]


def rate_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options, and hand the command ``rates``."""

    @click.option(
        "--rate-limit",
        "rates",
        type=RateValue(),
        multiple=True,
        envvar="USERSERVICE_RATE_LIMIT",
        show_envvar=True,
        metavar="METHODS=RATE",
        help="How often each caller may call, such as '*=100/s burst 200'; any number of times.",
    )
    @click.option(
        "--concurrency-limit",
        "calls_under_way",
        type=click.IntRange(1),
        envvar="USERSERVICE_CONCURRENCY_LIMIT",
        show_envvar=True,
        metavar="N",
        help="How many calls each caller may have under way; any number by default.",
    )
    @click.option(
        "--max-loop-lag",
        "max_lag_s",
        type=Number(0, min_open=True),
        envvar="USERSERVICE_MAX_LOOP_LAG",
        show_envvar=True,
        metavar="SECONDS",
        help="How late the event loop may come before new calls are refused; 0.2 is a good start.",
    )
    @wraps(command)
    def with_settings(
        *,
        rates: tuple[Rate, ...],
        calls_under_way: int | None,
        max_lag_s: float | None,
        **others: Any,
    ) -> None:
        command(rates=RateSettings(rates, calls_under_way, max_lag_s), **others)

    return with_settings
