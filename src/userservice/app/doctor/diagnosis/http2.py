"""What the settings of a server mean, or what is heard instead of them."""

from typing import Any, Final

from userservice.app.doctor.conversation import End
from userservice.app.doctor.findings import Finding, milliseconds
from userservice.app.doctor.tongues import Heard, Tongue
from userservice.app.doctor.words import Sign, finding
from userservice.wire import http2

_UNLIMITED: Final = 2**32 - 1

_TONGUES: Final = {
    Tongue.HTTP1: Sign.HTTP1,
    Tongue.SSH: Sign.SSH,
    Tongue.TEXT: Sign.OTHER_PROTOCOL,
    Tongue.STRANGE: Sign.STRANGE_BYTES,
    Tongue.SILENT: Sign.SILENT,
    Tongue.CLOSED: Sign.CLOSED,
    Tongue.RESET: Sign.RESET,
}


def of_heard(heard: Heard, timeout_s: float, *, tls: bool) -> Finding:
    """Return what it means that this is heard instead of settings."""
    if tls and heard.tongue in (Tongue.CLOSED, Tongue.RESET):
        return finding(Sign.CLOSED_AFTER_TLS)
    return finding(_TONGUES[heard.tongue], line=heard.line, timeout_s=timeout_s)


def of_greeting(
    settings: http2.Settings, ping_s: float | None, seconds: float, timeout_s: float
) -> Finding:
    """Return what the settings of a server say."""
    most = settings.max_concurrent_streams
    facts: dict[str, Any] = {
        "streams": "any number of" if most == _UNLIMITED else str(most),
        "window": _size(settings.initial_window_size),
        "frame": _size(settings.max_frame_size),
        "header_list": (
            "any size"
            if settings.max_header_list_size == _UNLIMITED
            else _size(settings.max_header_list_size)
        ),
        "settings": {
            "max_concurrent_streams": most,
            "initial_window_size": settings.initial_window_size,
            "max_frame_size": settings.max_frame_size,
            "max_header_list_size": settings.max_header_list_size,
            "header_table_size": settings.header_table_size,
        },
        "ms": milliseconds(seconds),
        "timeout_s": timeout_s,
    }
    if ping_s is None:
        return finding(Sign.HTTP2_NO_PING, **facts)
    facts["ping_ms"] = milliseconds(ping_s)
    return finding(Sign.HTTP2_NO_STREAMS if most == 0 else Sign.HTTP2, **facts)


def of_end(end: End | None, goaway: http2.GoawayReceived | None) -> Finding:
    """Return what it means that a connection of HTTP/2 ended before anything was asked."""
    if goaway is not None:
        said = goaway.debug.decode("utf-8", "replace").strip()[:100]
        return finding(Sign.HTTP2_GOAWAY, code=_code(goaway.code), debug=said)
    if end is not None and end.rule is not None:
        return finding(Sign.HTTP2_BROKEN, reason=_sentence(end.rule.reason))
    return finding(Sign.RESET if end is not None and end.by_reset else Sign.CLOSED)


def _size(size: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor and size % factor == 0:
            return f"{size // factor} {unit}"
    return f"{size:,} bytes"


def _code(code: int) -> str:
    return http2.ErrorCode(code).name if code in frozenset(http2.ErrorCode) else str(code)


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:].rstrip(".")
