"""What a handshake means, and all that is wrong with a certificate."""

import math
import ssl
from collections.abc import Iterator
from typing import Any, Final

from userservice.app.doctor.findings import Finding, milliseconds
from userservice.app.doctor.handshakes import Certificate, Distrust, Handshake
from userservice.app.doctor.tongues import Heard, Tongue
from userservice.app.doctor.words import Sign, finding
from userservice.rpc.handshake import fault_of

_DAY_S: Final = 86_400

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


def of_handshake(made: Handshake, seconds: float) -> Finding:
    """Return what a handshake that was made agreed on."""
    assert made.agreement is not None
    return finding(
        Sign.TLS_AGREED,
        version=made.agreement.version,
        cipher=made.agreement.cipher,
        ms=milliseconds(seconds),
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


def _clause(reason: str) -> str:
    return reason.rstrip(".")
