"""From evidence to findings: which sign something is. What is said of it is in `words`."""

import errno
import math
import socket
import ssl
import statistics
from collections.abc import Iterator, Sequence
from typing import Any, Final

from grpclib.const import Status

from userservice._gen.grpc.health.v1 import (
    HealthCheckResponse,
    HealthCheckResponseServingStatus,
    HealthListResponse,
)
from userservice.app.doctor.answers import Answer, Broken
from userservice.app.doctor.conversation import End
from userservice.app.doctor.findings import Finding
from userservice.app.doctor.handshakes import Certificate, Distrust, Handshake
from userservice.app.doctor.places import Attempt, LookedUp
from userservice.app.doctor.tongues import Heard, Tongue
from userservice.app.doctor.words import Sign, finding
from userservice.rpc.handshake import fault_of
from userservice.rpc.target import Target, reason_of
from userservice.wire import http2

_SLOW_S: Final = 1.0
_DAY_S: Final = 86_400
_UNLIMITED: Final = 2**32 - 1
_MESSAGE_MAX: Final = 200  # of what a server says about a status

_ASKS_WHO: Final = (Status.UNAUTHENTICATED, Status.PERMISSION_DENIED)
# What a method says that an empty message does not suit, or is for another state.
_ANSWERS: Final = (
    Status.INVALID_ARGUMENT,
    Status.NOT_FOUND,
    Status.ALREADY_EXISTS,
    Status.FAILED_PRECONDITION,
    Status.ABORTED,
    Status.OUT_OF_RANGE,
)

# By OpenSSL's names of alerts (RFC 8446 section 6.2).
_ALERTS: Final = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": Sign.CLIENT_CERTIFICATE_MISSING,
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": Sign.ALPN_REFUSED,
    "TLSV1_UNRECOGNIZED_NAME": Sign.TLS_NAME_UNKNOWN,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": Sign.TLS_REFUSED,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": Sign.TLS_REFUSED,
    "TLSV1_ALERT_PROTOCOL_VERSION": Sign.TLS_VERSION,
    "UNSUPPORTED_PROTOCOL": Sign.TLS_VERSION,
    "WRONG_SSL_VERSION": Sign.TLS_VERSION,
}
# Alerts about a certificate: about the client's, as the server's is not the server's to refuse.
_OF_CERTIFICATE: Final = frozenset(
    {
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "TLSV1_ALERT_ACCESS_DENIED",
        "TLSV1_ALERT_DECRYPT_ERROR",
        "TLSV1_ALERT_UNKNOWN_CA",
    }
)

# By the codes of X509_verify_cert.
_NOT_YET: Final = 9
_EXPIRED: Final = 10
_SELF_SIGNED: Final = 18
_UNTRUSTED: Final = (2, 19, 20, 21)

_TONGUES: Final = {
    Tongue.HTTP1: Sign.HTTP1,
    Tongue.SSH: Sign.SSH,
    Tongue.TEXT: Sign.OTHER_PROTOCOL,
    Tongue.STRANGE: Sign.STRANGE_BYTES,
    Tongue.SILENT: Sign.SILENT,
    Tongue.CLOSED: Sign.CLOSED,
    Tongue.RESET: Sign.RESET,
}


# --- Name and addresses


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
    return finding(sign, host=host, addresses=addresses, ms=_ms(found.seconds))


def of_attempts(attempts: Sequence[Attempt], timeout_s: float) -> Iterator[Finding]:
    """Return what became of the connection to each address."""
    any_works = any(attempt.error is None for attempt in attempts)
    for attempt in attempts:
        facts: dict[str, Any] = {"address": attempt.place.text, "ms": _ms(attempt.seconds)}
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


# --- TLS


def of_handshake(made: Handshake, seconds: float) -> Finding:
    """Return what a handshake that was made agreed on."""
    assert made.agreement is not None
    return finding(
        Sign.TLS_AGREED,
        version=made.agreement.version,
        cipher=made.agreement.cipher,
        ms=_ms(seconds),
    )


def alert_of(error: OSError) -> ssl.SSLError | None:
    """Return the error where it says what the other side thinks of the handshake."""
    if not isinstance(error, ssl.SSLError):
        return None
    reason = error.reason or ""
    return error if "ALERT" in reason or reason in _ALERTS else None


def of_alert(error: ssl.SSLError, host: str, *, showed_certificate: bool) -> Finding:
    """Return what it means that TLS ended like this."""
    reason = error.reason or ""
    sign = _ALERTS.get(reason)
    if reason in _OF_CERTIFICATE:
        sign = Sign.CLIENT_CERTIFICATE_REFUSED
    if sign is Sign.CLIENT_CERTIFICATE_REFUSED and not showed_certificate:
        # Before TLS 1.3 there is no alert of its own for who shows none (RFC 8446 section 6.2).
        sign = Sign.CLIENT_CERTIFICATE_MISSING
    return finding(sign or Sign.TLS_FAILED, host=host, reason=_clause(fault_of(error)))


def of_failed_handshake(error: OSError, heard: Heard, timeout_s: float) -> Finding:
    """Return what it means that no handshake came about, with what is heard without TLS."""
    if heard.tells and heard.tongue is not Tongue.TLS:
        tongue = heard.tongue.value
        return finding(Sign.TLS_UNEXPECTED, tongue=tongue, line=heard.line)
    if isinstance(error, TimeoutError):
        return finding(Sign.TLS_SILENT, timeout_s=timeout_s)
    if not isinstance(error, ssl.SSLError):
        return finding(Sign.TLS_CLOSED)
    return finding(Sign.TLS_FAILED, reason=_clause(fault_of(error)))


def of_certificate(made: Handshake, host: str) -> Iterator[Finding]:
    """Return all that is wrong with a certificate, or that nothing is."""
    certificate, distrust = made.certificate, made.distrust
    facts = _certificate_facts(certificate) | {"host": host}
    if distrust is None:
        soon = certificate is not None and certificate.ends_soon
        yield finding(Sign.CERTIFICATE_ENDS_SOON if soon else Sign.CERTIFICATE_TRUSTED, **facts)
        return
    signs = list(_distrusted(certificate, distrust))
    code, reason = distrust.first
    if not signs:
        sign = {_EXPIRED: Sign.CERTIFICATE_EXPIRED, _NOT_YET: Sign.CERTIFICATE_NOT_YET}.get(code)
        yield finding(sign or Sign.CERTIFICATE_REFUSED, **facts, reason=reason, since="")
    for sign in signs:
        yield finding(sign, **facts, reason=reason, since=_since(certificate))


def _distrusted(certificate: Certificate | None, distrust: Distrust) -> Iterator[Sign]:
    if distrust.chain == _SELF_SIGNED:
        yield Sign.CERTIFICATE_SELF_SIGNED
    elif distrust.chain in _UNTRUSTED:
        yield Sign.CERTIFICATE_UNTRUSTED
    elif distrust.chain:
        yield Sign.CERTIFICATE_REFUSED
    if certificate is not None and certificate.left_s() < 0:
        yield Sign.CERTIFICATE_EXPIRED
    elif certificate is not None and certificate.begins_in_s() > 0:
        yield Sign.CERTIFICATE_NOT_YET
    if distrust.name_differs:
        yield Sign.CERTIFICATE_OTHER_NAME


def _since(certificate: Certificate | None) -> str:
    if certificate is None:
        return ""
    left = certificate.left_s()
    if left < 0:
        return f"{_days(-left)} ago"
    return f"but in {_days(certificate.begins_in_s())}"


def _days(seconds: float) -> str:
    days = int(seconds // _DAY_S)
    return "less than a day" if days == 0 else "a day" if days == 1 else f"{days} days"


def _certificate_facts(certificate: Certificate | None) -> dict[str, Any]:
    if certificate is None:
        return {"names": ["nobody can tell"], "issuer": "nobody can tell", "days": 0}
    return {
        "names": list(certificate.names),
        "issuer": certificate.issuer,
        "days": math.floor(certificate.left_s() / _DAY_S),
    }


def of_alpn(made: Handshake) -> Finding:
    """Return what ALPN agreed on."""
    agreed = made.agreement is not None and made.agreement.protocol == "h2"
    return finding(Sign.ALPN_AGREED if agreed else Sign.ALPN_MISSING)


# --- HTTP/2


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
        "ms": _ms(seconds),
        "timeout_s": timeout_s,
    }
    if ping_s is None:
        return finding(Sign.HTTP2_NO_PING, **facts)
    facts["ping_ms"] = _ms(ping_s)
    return finding(Sign.HTTP2_NO_STREAMS if most == 0 else Sign.HTTP2, **facts)


def of_end(end: End | None, goaway: http2.GoawayReceived | None) -> Finding:
    """Return what it means that a connection of HTTP/2 ended before anything was asked."""
    if goaway is not None:
        said = goaway.debug.decode("utf-8", "replace").strip()[:100]
        return finding(Sign.HTTP2_GOAWAY, code=_code(goaway.code), debug=said)
    if end is not None and end.rule is not None:
        return finding(Sign.HTTP2_BROKEN, reason=_sentence(end.rule.reason))
    return finding(Sign.RESET if end is not None and end.by_reset else Sign.CLOSED)


# --- gRPC


def of_calls(missing: Answer, others: Sequence[Answer], timeout_s: float) -> Finding:
    """Return whether this is gRPC.

    Args:
        missing: what a method that is not there answers.
        others: what methods answer that may be there.
        timeout_s: how long an answer could take.
    """
    if missing.speaks_grpc:
        return _of_grpc(missing)
    if any(other.outcome is not None for other in others) and missing.http_status:
        return finding(Sign.GRPC_BESIDE, http=missing.http_status, **_page(missing))
    if missing.broken is Broken.SILENT and not missing.http_status:
        return finding(Sign.GRPC_SILENT, timeout_s=timeout_s)
    if missing.broken is Broken.RESET and not missing.http_status:
        return finding(Sign.GRPC_RESET, reason=missing.fault)
    if not missing.http_status:
        return finding(Sign.GRPC_LOST, reason=missing.fault)
    return _of_page(missing)


def _of_grpc(answer: Answer) -> Finding:
    status = answer.status
    if status is None:
        return finding(Sign.TRAILERS_LOST, **_page(answer))
    facts = _status_facts(answer)
    if status is Status.UNIMPLEMENTED:
        return finding(Sign.GRPC, **facts)
    if status in _ASKS_WHO:
        return finding(Sign.GRPC_ASKS_WHO, **facts)
    if status is Status.UNAVAILABLE:
        return finding(Sign.GRPC_UNAVAILABLE, **facts, **_page(answer))
    return finding(Sign.GRPC_ODD, **facts)


def _of_page(answer: Answer) -> Finding:
    """Return what it means that HTTP/2 is answered without gRPC."""
    facts = _page(answer) | {"http": answer.http_status}
    status = answer.http_status
    if status in ("502", "503", "504"):
        return finding(Sign.HTTP_GATEWAY, **facts)
    if status == "404":
        return finding(Sign.HTTP_NO_ROUTE, **facts)
    if status in ("401", "403", "407"):
        return finding(Sign.HTTP_ASKS_WHO, **facts)
    if status.startswith("3") and answer.field("location"):
        return finding(Sign.HTTP_REDIRECT, **facts, location=answer.field("location"))
    return finding(Sign.NOT_GRPC, **facts)


def _page(answer: Answer) -> dict[str, Any]:
    return {
        "content_type": answer.content_type or "without a content-type",
        "server": answer.field("server"),
        "body": answer.snippet,
    }


def _status_facts(answer: Answer) -> dict[str, Any]:
    outcome = answer.outcome
    assert outcome is not None
    return {"status": outcome.status.name, "message": (outcome.message or "")[:_MESSAGE_MAX]}


# --- Health, reflection, one call


def of_health(  # noqa: PLR0911  # each status means something else
    checked: Answer, listed: Answer | None
) -> Finding:
    """Return what the health service says.

    Args:
        checked: what Check answers for the server as a whole.
        listed: what List answers, where it was asked.
    """
    status = checked.status
    if status is None:
        if checked.http_status and not checked.speaks_grpc:
            return finding(Sign.HEALTH_MISSING, status=f"HTTP {checked.http_status}")
        return finding(Sign.HEALTH_FAILED, reason=reason_of_answer(checked))
    facts = _status_facts(checked)
    statuses = _listed(listed)
    if status in _ASKS_WHO:
        return finding(Sign.HEALTH_ASKS_WHO, **facts)
    if status is Status.UNIMPLEMENTED:
        return finding(Sign.HEALTH_MISSING, **facts)
    if status is Status.NOT_FOUND:
        return finding(Sign.HEALTH_NO_OVERALL, **facts, statuses=statuses)
    response = checked.message(HealthCheckResponse)
    if status is not Status.OK or response is None:
        return finding(Sign.HEALTH_FAILED, reason=reason_of_answer(checked))
    return _of_health_status(response.status, statuses)


def _of_health_status(whole: HealthCheckResponseServingStatus, statuses: dict[str, str]) -> Finding:
    if whole is not HealthCheckResponseServingStatus.SERVING:
        return finding(Sign.NOT_SERVING, status=_serving(whole), statuses=statuses)
    off = [f"{name} is {status}" for name, status in statuses.items() if status != "SERVING"]
    if off:
        return finding(Sign.SERVICE_NOT_SERVING, not_serving=off, statuses=statuses)
    return finding(Sign.SERVING, services=list(statuses), statuses=statuses)


def _listed(answer: Answer | None) -> dict[str, str]:
    """Return the status of each service that List names, but for the server as a whole."""
    response = None if answer is None else answer.message(HealthListResponse)
    if response is None:
        return {}
    found = {name: _serving(each.status) for name, each in sorted(response.statuses.items())}
    found.pop("", None)
    return found


def _serving(status: HealthCheckResponseServingStatus) -> str:
    return status.name or str(int(status))


def of_reflection(version: str, names: Sequence[str], answer: Answer) -> Finding:
    """Return what reflection lists.

    Args:
        version: which one answered.
        names: the services; none where it did not answer.
        answer: the last answer.
    """
    if names:
        sign = Sign.REFLECTION if version == "v1" else Sign.REFLECTION_OLD
        return finding(sign, services=list(names), version=version)
    if answer.status is Status.UNIMPLEMENTED or (answer.http_status and not answer.speaks_grpc):
        return finding(Sign.REFLECTION_MISSING)
    return finding(Sign.REFLECTION_FAILED, reason=reason_of_answer(answer))


def of_method(  # noqa: PLR0911  # each status means something else
    path: str, answer: Answer, known: Sequence[str], timeout_s: float
) -> Finding:
    """Return what a method answers to an empty message."""
    facts: dict[str, Any] = {"method": path.removeprefix("/"), "ms": _ms(answer.seconds)}
    status = answer.status
    if status is None:
        if answer.broken is Broken.SILENT and answer.has_message:
            return finding(Sign.METHOD_STREAMS, **facts, timeout_s=timeout_s)
        return finding(Sign.METHOD_FAILED, **facts, reason=reason_of_answer(answer))
    facts |= _status_facts(answer)
    if status is Status.OK:
        return finding(Sign.METHOD_OK, **facts)
    if status is Status.UNIMPLEMENTED:
        return finding(Sign.METHOD_MISSING, **facts, known=list(known))
    if status in _ASKS_WHO:
        return finding(Sign.METHOD_ASKS_WHO, **facts)
    if status in _ANSWERS:
        return finding(Sign.METHOD_ANSWERS, **facts)
    return finding(Sign.METHOD_FAILED, **facts, reason=reason_of_answer(answer))


def of_latency(kind: str, seconds: Sequence[float], failed: Answer | None) -> Finding:
    """Return how long calls took, one after the other."""
    if failed is not None:
        reason = reason_of_answer(failed)
        return finding(Sign.LATENCY_LOST, count=len(seconds) + 1, reason=reason)
    ordered = sorted(seconds)
    return finding(
        Sign.LATENCY,
        kind=kind,
        count=len(ordered),
        p50_ms=_ms(statistics.median(ordered)),
        p99_ms=_ms(ordered[math.ceil(len(ordered) * 0.99) - 1]),
        max_ms=_ms(ordered[-1]),
    )


def reason_of_answer(answer: Answer) -> str:
    """Return why an answer is not what was hoped for, in a few words."""
    if answer.outcome is not None:
        facts = _status_facts(answer)
        message = f" ({facts['message']})" if facts["message"] else ""
        return f"{facts['status']}{message}"
    if answer.broken is Broken.SILENT:
        return f"no answer within {answer.seconds:.1f} s"
    if answer.broken is not None:
        return answer.fault
    if answer.speaks_grpc:
        return "the answer has no grpc-status"
    return f"HTTP {answer.http_status}, {answer.content_type or 'without a content-type'}"


# --- Words for numbers


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _size(size: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor and size % factor == 0:
            return f"{size // factor} {unit}"
    return f"{size:,} bytes"


def _code(code: int) -> str:
    return http2.ErrorCode(code).name if code in frozenset(http2.ErrorCode) else str(code)


def _clause(reason: str) -> str:
    return reason.rstrip(".")


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:].rstrip(".")
