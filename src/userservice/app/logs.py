"""Logs: structured, on standard error, as text for people or JSON for programs."""

import enum
import logging
import sys

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
