"""Passwords, read from where nobody else can see them."""

import sys

import click

from userservice.app.cli.reading import STANDARD_STREAM, open_for_reading

_LINE_MAX_BYTES = 65_536  # far above the longest password


def read_password(file: str) -> str:
    """Return the first line of a file, without its end; at a terminal, ask for it unseen.

    Raises:
        ClickException: the file cannot be read, or its first line is no password.
    """
    name = "standard input" if file == STANDARD_STREAM else file
    if file == STANDARD_STREAM and sys.stdin is not None and sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, err=True))
    try:
        with open_for_reading(file) as source:
            line = source.readline(_LINE_MAX_BYTES)
    except OSError as error:
        raise click.ClickException(f"cannot read {name}: {error.strerror}") from error
    try:
        password = line.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        # Not the cause: its text has a byte of the password.
        raise click.ClickException(f"the password in {name} is not UTF-8") from None
    if not password:
        raise click.ClickException(f"there is no password in the first line of {name}")
    return password
