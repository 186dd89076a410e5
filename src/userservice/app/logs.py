"""Logs: structured, on standard error, as text for people or JSON for programs."""

import enum
import json
import logging
import os
import re
import select
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import structlog


class LogFormat(enum.StrEnum):
    """How a log line looks."""

    TEXT = "text"
    JSON = "json"


LEVELS = ("debug", "info", "warning", "error")


def configure_logs(level: str, log_format: LogFormat) -> None:
    """Send every log line, structlog's and the standard library's, to standard error.

    Args:
        level: the lowest level shown, one of LEVELS.
        log_format: text, or one JSON object a line.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(log_format),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # At "debug" it writes out every header, secrets too.
    logging.getLogger("hpack").setLevel(logging.INFO)
    # What it says at "info" is ordinary life: a call was cancelled, a check passed.
    logging.getLogger("grpclib").setLevel(logging.WARNING)


def _rendering(log_format: LogFormat) -> list[structlog.typing.Processor]:
    if log_format is LogFormat.JSON:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # The plain formatter: a traceback with the values of variables would show secrets.
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]


# A line that is no fault of the program, made in a few microseconds: one for each call.

Line = Callable[[str, str, dict[str, Any]], str]
"""Makes a line of a level, an event, and what is said of it; all of it is clean text or numbers."""

_PLAIN: Final = re.compile(r"[^\s=\"'\\]+").fullmatch


def line_renderer(logger: str, log_format: LogFormat) -> Line:
    """Return what makes lines like those of all other loggers, but faster.

    Args:
        logger: who says it.
        log_format: text, or one JSON object a line.
    """
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)

    def json_line(level: str, event: str, said: dict[str, Any]) -> str:
        said |= {"event": event, "level": level, "logger": logger}
        return f"{_to_json(stamp(None, level, said))}\n"

    def text_line(level: str, event: str, said: dict[str, Any]) -> str:
        time = stamp(None, level, {})["timestamp"]
        pairs = " ".join([f"{name}={_text_value(value)}" for name, value in said.items()])
        return f"{time} [{level:9}] {event:30} [{logger}] {pairs}\n"

    return json_line if log_format is LogFormat.JSON else text_line


def _to_json(said: Mapping[str, Any]) -> str:
    # What json's encoder makes of flat text and numbers; it builds itself anew for each line.
    pairs = [
        f'"{name}": {_quoted(value) if type(value) is str else value}'
        for name, value in said.items()
    ]
    return f"{{{', '.join(pairs)}}}"


_quoted: Final = json.encoder.encode_basestring_ascii


def _text_value(value: Any) -> Any:
    return repr(value) if type(value) is str and not _PLAIN(value) else value


def write_to_stderr(data: bytes) -> None:
    """Write whole lines to standard error, so that lines of other processes are not in them.

    Raises:
        OSError: they cannot be written.
    """
    number = sys.stderr.fileno()
    for piece in _pieces(data):
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(number, rest) :]


def _pieces(data: bytes) -> Iterator[bytes]:
    """Cut lines into pieces that a pipe takes as a whole, where a line is not longer than that."""
    start = 0
    while len(data) - start > select.PIPE_BUF:
        end = data.rfind(b"\n", start, start + select.PIPE_BUF) + 1
        if end == 0:
            end = start + select.PIPE_BUF
        yield data[start:end]
        start = end
    yield data[start:]
