"""What the commands print: tables and lines for people, ProtoJSON for programs.

Text that comes from a server is not trusted: it reaches a terminal without control
characters, and what looks like markup is printed as it is.
"""

import datetime
import re

import betterproto2
import click

from userservice import ChatMessage, User, UserEvent
from userservice.app.cli.roles import role_name

# C0 and C1 controls (ECMA-48: escape sequences start with one of them), line and
# paragraph separators, bidirectional embeddings, overrides and isolates, surrogates.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return the text with every character that would act on a terminal as an escape like \x1b."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def complain(message: str) -> None:
    """Print one line on standard error."""
    click.echo(f"userservice: {printable(message)}", err=True)


def print_json(message: betterproto2.Message) -> None:
    """Print a message as ProtoJSON, on one line."""
    click.echo(message.to_json())


def print_user(user: User) -> None:
    """Print a user for people, one field a line."""
    fields = {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "avatar": user.avatar or "-",
        "role": role_name(user.role),
        "created": utc(user.created_at),
        "updated": utc(user.updated_at),
    }
    for label, value in fields.items():
        click.echo(f"{label:<7}  {printable(value)}")


def print_event(event: UserEvent) -> None:
    """Print what happened to a user for people, on one line."""
    user = event.user or User()
    cells = [
        utc(event.timestamp),
        f"{event.type.name or int(event.type):<7}",
        user.email,
        user.name,
        role_name(user.role),
        user.avatar,
    ]
    click.echo("  ".join(printable(cell) for cell in cells).rstrip())


def print_line(message: ChatMessage) -> None:
    """Print what someone said for people, on one line."""
    time = "" if message.timestamp is None else f"{message.timestamp:%H:%M:%S}"
    click.echo(f"{time:8}  {printable(message.sender_id)}: {printable(message.text)}")


def utc(time: datetime.datetime | None) -> str:
    """Return a time for people, in UTC."""
    return "-" if time is None else f"{time.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
