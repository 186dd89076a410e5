"""``userservice chat``."""

import asyncio
import getpass
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress

import click

from userservice import ChatMessage, UserServiceClient
from userservice.app.cli.calls import ServerAddress, json_option, run, server_options
from userservice.app.cli.output import print_json, print_line
from userservice.app.cli.reading import in_background, standard_input_lines

_UNHEARD_MAX = 64  # the room forgets the oldest of 256 messages that someone has not taken
_PATIENCE_S = 1.0


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        return "anonymous"


@click.command()
@click.option(
    "--as",
    "sender_id",
    default=_login_name,
    metavar="NAME",
    help="Who says what you type.  [default: your login name]",
)
@server_options
@json_option
def chat(*, sender_id: str, server: ServerAddress, as_json: bool) -> None:
    """Talk with everybody who is connected.

    Each line of standard input is said in the room; what anybody says is printed. Ends
    when standard input ends and everything said until then is heard. Empty lines are
    not said. Times are in UTC.
    """

    async def talk(client: UserServiceClient) -> None:
        speaker = _Speaker(sender_id)
        async with client.chat(speaker.messages()) as room:
            async for message in room:
                speaker.hear(message)
                (print_json if as_json else print_line)(message)

    run(server, talk)


class _Speaker:
    """Says the lines of standard input, only so fast that it hears all of them.

    Args:
        sender_id: who says them.
    """

    def __init__(self, sender_id: str) -> None:
        self._sender_id = sender_id
        self._unheard: deque[str] = deque()
        self._heard = asyncio.Event()

    async def messages(self) -> AsyncIterator[ChatMessage]:
        """Yield a message for each line that is not empty."""
        async for line in in_background(standard_input_lines()):
            if line:
                await self._wait_for_ears()
                self._unheard.append(line)
                yield ChatMessage(sender_id=self._sender_id, text=line)

    def hear(self, message: ChatMessage) -> None:
        """Take note of a message of the room, which may be one of these."""
        if message.sender_id == self._sender_id and message.text in self._unheard:
            while self._unheard.popleft() != message.text:
                pass
            self._heard.set()

    async def _wait_for_ears(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                while len(self._unheard) >= _UNHEARD_MAX:
                    self._heard.clear()
                    await self._heard.wait()
            return
        # Others talk so much that the room forgot ours: nothing is left to wait for.
        self._unheard.clear()
