"""Calls from the command line: the options that they share, and how they are run."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from userservice import UserServiceClient
from userservice.rpc import TargetError

C = TypeVar("C", bound=Callable[..., Any])
T = TypeVar("T")

_TIMEOUT_MAX_S = 99_999_999  # gRPC over HTTP/2: TimeoutValue has at most 8 digits

target_option = click.option(
    "--target",
    default="127.0.0.1:50051",
    envvar="USERSERVICE_TARGET",
    show_default=True,
    show_envvar=True,
    metavar="ADDRESS",
    help="The server: host:port, [v6]:port, or unix:path.",
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print ProtoJSON, one object a line."
)


class Seconds(click.ParamType[float]):
    """An option that takes how long a call may take."""

    name = "seconds"

    def convert(
        self, value: float | str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; fails where a call cannot have this timeout."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= _TIMEOUT_MAX_S:
            self.fail(
                f"{value!r} is no time; it is more than 0 and at most {_TIMEOUT_MAX_S} seconds.",
                param,
                ctx,
            )
        return seconds


timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="How long one call may take.",
)


def list_options(command: C) -> C:
    """Add --filter and --order-by."""
    by = click.option(
        "--order-by",
        default="",
        metavar="FIELDS",
        help='In which order, such as "created_at desc, name".',
    )
    which = click.option(
        "--filter",
        "filter_",
        default="",
        metavar="FILTER",
        help="Which users: an AIP-160 filter, such as 'role=ADMIN AND name:ann'.",
    )
    return which(by(command))


def run(
    target: str,
    work: Callable[[UserServiceClient], Awaitable[T]],
    timeout_s: float | None = None,
) -> T:
    """Connect a client, and return what the work with it returns.

    Args:
        target: the server.
        work: what to do with the client.
        timeout_s: how long each call with one reply may take, in seconds.

    Raises:
        UsageError: the target is none, or an argument is no text.
        RpcError: a call failed.
    """
    # What libraries log would stand beside the one line that says what is wrong.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        return asyncio.run(_connected(target, work, timeout_s))
    except ValueError as error:
        # Python keeps bytes of an argument that are not UTF-8 as surrogates (PEP 383).
        if not isinstance(error.__cause__, UnicodeEncodeError):
            raise
        raise click.UsageError(
            "an argument is not valid UTF-8", click.get_current_context()
        ) from error


async def _connected(
    target: str, work: Callable[[UserServiceClient], Awaitable[T]], timeout_s: float | None
) -> T:
    try:
        client = UserServiceClient(target, timeout_s=timeout_s)
    except TargetError as error:
        context = click.get_current_context()
        raise click.BadParameter(str(error), context, param_hint="'--target'") from error
    async with client:
        return await work(client)
