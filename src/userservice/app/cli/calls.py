"""Calls from the command line: the options that they share, and how they are run."""

import asyncio
import functools
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import click

from userservice import UserServiceClient
from userservice.app.cli.tls import ClientTls, client_tls_options
from userservice.app.cli.token_options import ClientToken, token_options
from userservice.rpc import TargetError
from userservice.rpc.middleware.bearer import PlaintextTokenError, TokenError

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


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Which server is called, and how.

    Args:
        target: the server.
        tls: how TLS is spoken with it; None for without.
        token: what says who calls; None for nothing.
    """

    target: str
    tls: ClientTls | None
    token: ClientToken | None = None


def server_options(command: C) -> C:
    """Add --target, --tls, --token-file and their like; the command gets them as ``server``."""

    @functools.wraps(command)
    def with_server(
        *arguments: Any,
        target: str,
        tls: ClientTls | None,
        token: ClientToken | None,
        **others: Any,
    ) -> Any:
        return command(*arguments, server=ServerAddress(target, tls, token), **others)

    return cast("C", target_option(client_tls_options(token_options(with_server))))


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
    server: ServerAddress,
    work: Callable[[UserServiceClient], Awaitable[T]],
    timeout_s: float | None = None,
) -> T:
    """Connect a client, and return what the work with it returns.

    Args:
        server: the server.
        work: what to do with the client.
        timeout_s: how long each call with one reply may take, in seconds.

    Raises:
        UsageError: the target is none, or an argument is no text.
        ClickException: the token cannot be sent.
        RpcError: a call failed.
    """
    # What libraries log would stand beside the one line that says what is wrong.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        return asyncio.run(_connected(server, work, timeout_s))
    except ValueError as error:
        # Python keeps bytes of an argument that are not UTF-8 as surrogates (PEP 383).
        if not isinstance(error.__cause__, UnicodeEncodeError):
            raise
        raise click.UsageError(
            "an argument is not valid UTF-8", click.get_current_context()
        ) from error


async def _connected(
    server: ServerAddress,
    work: Callable[[UserServiceClient], Awaitable[T]],
    timeout_s: float | None,
) -> T:
    tls, token = server.tls, server.token
    try:
        client = UserServiceClient(
            server.target,
            timeout_s=timeout_s,
            tls=None if tls is None else tls.context(),
            tls_server_name=None if tls is None else tls.server_name,
            token=None if token is None else token.text,
            allow_plaintext_token=token is not None and token.plaintext,
        )
    except TargetError as error:
        context = click.get_current_context()
        raise click.BadParameter(str(error), context, param_hint="'--target'") from error
    except PlaintextTokenError as error:
        raise click.ClickException(f"{error} (see --tls, --allow-plaintext-token)") from error
    except TokenError as error:
        raise click.ClickException(str(error)) from error
    async with client:
        return await work(client)
