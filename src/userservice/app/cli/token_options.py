"""The options that say who calls: a token, from where nobody else can see it."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

import click

from userservice.app.cli.passwords import read_secret
from userservice.app.cli.reading import STANDARD_STREAM
from userservice.app.cli.tls import with_options

C = TypeVar("C", bound=Callable[..., Any])

TOKEN_VARIABLE: Final = "USERSERVICE_TOKEN"  # noqa: S105  # the name of a variable


@dataclass(frozen=True, slots=True)
class ClientToken:
    """What shows who calls.

    Args:
        text: the token.
        plaintext: whether it may go to other machines without TLS.
    """

    text: str = field(repr=False)
    plaintext: bool = False


_OPTIONS = (
    click.option(
        "--token-file",
        envvar="USERSERVICE_TOKEN_FILE",
        show_envvar=True,
        metavar="FILE",
        help=f"Its first line is the token that says who calls; {TOKEN_VARIABLE} without.",
    ),
    click.option(
        "--allow-plaintext-token",
        is_flag=True,
        envvar="USERSERVICE_ALLOW_PLAINTEXT_TOKEN",
        show_envvar=True,
        help="Send the token to another machine without TLS: all on the way can read it.",
    ),
)


def token_options(command: C) -> C:
    """Add --token-file and its like; the command gets them as ``token``: ClientToken, or None."""

    @functools.wraps(command)
    def with_token(
        *arguments: Any, token_file: str | None, allow_plaintext_token: bool, **others: Any
    ) -> Any:
        text = os.environ.get(TOKEN_VARIABLE)
        if token_file == STANDARD_STREAM:
            context = click.get_current_context()
            raise click.UsageError("--token-file is a file, and not standard input.", context)
        if token_file is not None:
            text = read_secret(token_file, "token")
        token = ClientToken(text.strip(), allow_plaintext_token) if text else None
        return command(*arguments, token=token, **others)

    return with_options(cast("C", with_token), _OPTIONS)
