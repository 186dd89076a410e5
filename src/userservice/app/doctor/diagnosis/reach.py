"""What the look-up of a name means, and the connection to each of its addresses."""

import errno
import socket
from collections.abc import Iterator, Sequence
from typing import Any, Final

from userservice.app.doctor.findings import Finding, milliseconds
from userservice.app.doctor.places import Attempt, LookedUp
from userservice.app.doctor.words import Sign, finding
from userservice.rpc.target import Target, reason_of

_SLOW_S: Final = 1.0


def of_look_up(target: Target, found: LookedUp, *, is_address: bool) -> Finding:
    """Return what the look-up of a name found."""
    host = target.host or target.path or ""
    if isinstance(found.error, socket.gaierror):
        silent = found.error.errno == socket.EAI_AGAIN
        sign = Sign.NAME_SERVER_SILENT if silent else Sign.NAME_UNKNOWN
        return finding(sign, host=host, reason=reason_of(found.error))
    if found.error is not None:
        reason = f"nothing was heard within {found.seconds:.1f} s"
        return finding(Sign.NAME_SERVER_SILENT, host=host, reason=reason)
    addresses = [place.text for place in found.places]
    if is_address:
        return finding(Sign.NO_NAME, host=host, addresses=addresses)
    sign = Sign.NAME_SLOW if found.seconds > _SLOW_S else Sign.NAME_FOUND
    return finding(sign, host=host, addresses=addresses, ms=milliseconds(found.seconds))


def of_attempts(attempts: Sequence[Attempt], timeout_s: float) -> Iterator[Finding]:
    """Return what became of the connection to each address."""
    any_works = any(attempt.error is None for attempt in attempts)
    for attempt in attempts:
        facts: dict[str, Any] = {"address": attempt.place.text, "ms": milliseconds(attempt.seconds)}
        error = attempt.error
        if error is None:
            yield finding(Sign.CONNECTED, **facts)
        elif isinstance(error, TimeoutError) and error.errno is None:
            yield finding(Sign.CONNECT_TIMEOUT, **facts, timeout_s=timeout_s)
        else:
            sign = Sign.REFUSED_IN_PART if any_works else _sign_of_refusal(attempt, error)
            yield finding(sign, **facts, reason=reason_of(error))


def _sign_of_refusal(attempt: Attempt, error: OSError) -> Sign:
    if attempt.place.family == socket.AF_UNIX:
        return {
            errno.ENOENT: Sign.SOCKET_MISSING,
            errno.ENOTDIR: Sign.SOCKET_MISSING,
            errno.ECONNREFUSED: Sign.SOCKET_ABANDONED,
            errno.EACCES: Sign.SOCKET_FORBIDDEN,
        }.get(error.errno or 0, Sign.CONNECT_FAILED)
    return {
        errno.ECONNREFUSED: Sign.REFUSED,
        errno.ETIMEDOUT: Sign.UNREACHABLE,
        errno.ENETUNREACH: Sign.UNREACHABLE,
        errno.EHOSTUNREACH: Sign.UNREACHABLE,
        errno.EADDRNOTAVAIL: Sign.UNREACHABLE,
    }.get(error.errno or 0, Sign.CONNECT_FAILED)
