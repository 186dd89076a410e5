"""Why a TLS connection failed, in words. "It" is the other side."""

import ssl
from typing import Final

from userservice.rpc.target import reason_of

# By OpenSSL's names for what goes wrong here, and for the alerts that the other side sends.
_FAULTS: Final = {
    **dict.fromkeys(
        (
            "BAD_RECORD_TYPE",
            "HTTPS_PROXY_REQUEST",
            "HTTP_REQUEST",
            "PACKET_LENGTH_TOO_LONG",
            "RECORD_LAYER_FAILURE",
            "WRONG_VERSION_NUMBER",
        ),
        "it speaks no TLS",
    ),
    **dict.fromkeys(
        (
            "PROTOCOL_VERSION",
            "TLSV1_ALERT_PROTOCOL_VERSION",
            "UNSUPPORTED_PROTOCOL",
            "VERSION_TOO_LOW",
            "WRONG_SSL_VERSION",
        ),
        "it speaks no version of TLS that is taken here: 1.2 or newer",
    ),
    "NO_SHARED_CIPHER": "it has no cipher that is taken here",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it has no client certificate, and needs one",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it does not accept our certificate, which has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it does not accept our certificate, which was revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not accept our certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        "it ended the handshake: no version, cipher or certificate of ours is taken there"
    ),
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it does not accept a certificate like ours",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it asks for a client certificate",
    "TLSV1_ALERT_ACCESS_DENIED": "it does not accept our certificate",
    "TLSV1_ALERT_DECRYPT_ERROR": "it does not accept our certificate",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "it does not speak HTTP/2 (ALPN h2)",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the authority of our certificate",
    "TLSV1_UNRECOGNIZED_NAME": "it has no certificate for this name",
}

# By the codes of X509_verify_cert.
_UNTRUSTED: Final = "its certificate is of an authority that is not trusted here"
_UNVERIFIED: Final = {
    2: _UNTRUSTED,
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is signed by itself, and is not trusted here",
    19: _UNTRUSTED,
    20: _UNTRUSTED,
    21: _UNTRUSTED,
    26: "its certificate is for another purpose",
}


def fault_of(error: OSError) -> str:
    """Return why a TLS connection failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        message = error.verify_message.rstrip(".")
        return _UNVERIFIED.get(error.verify_code, f"its certificate is refused: {message}")
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        return _FAULTS.get(reason, reason.replace("_", " ").lower())
    return reason_of(error)
