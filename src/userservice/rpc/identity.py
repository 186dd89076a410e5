"""Who is on the other side, as its certificate says."""

import datetime
import hashlib
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the certificate of a client says, which an authority of the server has signed.

    Args:
        common_name: the subject's common name; often there is none.
        dns_names: the subject alternative names: DNS names.
        uris: URIs, such as ``spiffe://example.com/billing``.
        emails: email addresses.
        ip_addresses: IP addresses.
        serial_number: the certificate's number, in hexadecimal digits.
        not_after: until when it is valid.
        issuer: the common name of the authority that has signed it.
        sha256: the fingerprint of the certificate, in hexadecimal digits.
    """

    common_name: str = ""
    dns_names: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    serial_number: str
    not_after: datetime.datetime
    issuer: str = ""
    sha256: str

    @classmethod
    def of(cls, tls: ssl.SSLObject) -> Self | None:
        """Return who is on the other side of a connection; None where it is not known."""
        # Without verification, Python says nothing of what is in a certificate.
        certificate: dict[str, Any] | None = tls.getpeercert()
        encoded = tls.getpeercert(binary_form=True)
        if not certificate or encoded is None:
            return None
        names = certificate.get("subjectAltName", ())
        expires_s = ssl.cert_time_to_seconds(certificate["notAfter"])
        return cls(
            common_name=_common_name(certificate.get("subject", ())),
            dns_names=_of_kind(names, "DNS"),
            uris=_of_kind(names, "URI"),
            emails=_of_kind(names, "email"),
            ip_addresses=_of_kind(names, "IP Address"),
            serial_number=certificate["serialNumber"],
            not_after=datetime.datetime.fromtimestamp(expires_s, datetime.UTC),
            issuer=_common_name(certificate.get("issuer", ())),
            sha256=hashlib.sha256(encoded).hexdigest(),
        )


def _common_name(name: Iterable[Iterable[tuple[str, str]]]) -> str:
    """Return the last, which is the most specific (RFC 4519 section 2.3 allows several)."""
    found = [value for part in name for kind, value in part if kind == "commonName"]
    return found[-1] if found else ""


def _of_kind(names: Iterable[tuple[str, str]], kind: str) -> tuple[str, ...]:
    return tuple(value for name_kind, value in names if name_kind == kind)
