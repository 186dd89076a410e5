"""The access log of the service: on standard error, in the format of all other lines."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from userservice.app.logs import LogFormat, line_renderer, write_to_stderr
from userservice.rpc.middleware import Middleware
from userservice.rpc.middleware.access_log import AccessLog, Entry
from userservice.rpc.middleware.line_writer import LineWriter

LOGGER = "userservice.access"


@dataclass(frozen=True, slots=True)
class AccessLogSettings:
    """How calls are logged.

    Args:
        on: whether they are.
        log_format: text, or one JSON object a line.
        sample: of how many calls one is told; all that failed or were slow are.
        slow_s: from when on a call is slow, in seconds.
        metadata: which keys of the client's metadata are told.
    """

    on: bool = False
    log_format: LogFormat = LogFormat.TEXT
    sample: int = 1
    slow_s: float = 1.0
    metadata: tuple[str, ...] = ()


@asynccontextmanager
async def access_log(settings: AccessLogSettings) -> AsyncIterator[Sequence[Middleware]]:
    """Return the middleware of the access log, none where it is off; write the rest at the end."""
    if not settings.on:
        yield []
        return
    line = line_renderer(LOGGER, settings.log_format)

    def dropped(count: int) -> str:
        return line("warning", "lines of the access log were dropped", {"count": count})

    async with LineWriter(write_to_stderr, dropped) as writer:

        def write(entry: Entry) -> None:
            writer.add(line("info", "call", entry))

        yield [
            AccessLog(
                write,
                sample=settings.sample,
                slow_s=settings.slow_s,
                metadata=settings.metadata,
            )
        ]
