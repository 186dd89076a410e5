"""Passwords and tokens, read from where nobody else can see them."""

import sys

import click

from userservice.app.cli.reading import STANDARD_STREAM, open_for_reading

_LINE_MAX_BYTES = 65_536  # far above the longest password


def read_password(file: str) -> str:
    """Return the first line of a file, without its end; at a terminal, ask for it unseen.

    Raises:
        ClickException: the file cannot be read, or its first line is no password.
    """
    return read_secret(file, "password")


def read_secret(file: str, what: str) -> str:
    """Return a password, or another secret, as `read_password` does.

    Args:
        file: the file.
        what: what the secret is.

    Raises:
        ClickException: the file cannot be read, or its first line is no such secret.
    """
    name = "standard input" if file == STANDARD_STREAM else file
    if file == STANDARD_STREAM and sys.stdin is not None and sys.stdin.isatty():
        return str(click.prompt(what.capitalize(), hide_input=True, err=True))
    try:
        with open_for_reading(file) as source:
            line = source.readline(_LINE_MAX_BYTES)
    except OSError as error:
        raise click.ClickException(f"cannot read {name}: {error.strerror}") from error
    try:
        secret = line.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        # Not the cause: its text has a byte of the secret.
        raise click.ClickException(f"the {what} in {name} is not UTF-8") from None
    if not secret:
        raise click.ClickException(f"there is no {what} in the first line of {name}")
    return secret
