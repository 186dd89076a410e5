"""Public keys of others: as PEM, and as JSON (RFC 7517). They need the package `cryptography`.

The kind of a key says what it is used with: RSA with RS256, P-256 with ES256, Ed25519 with
EdDSA. No other is taken.
"""

import json
from typing import Any, Final

from userservice.rpc.jwt import VerifyingKey

__all__ = [
    "PublicKeyError",
    "read_jwks",
    "read_pem",
]

_RSA_BITS_MIN: Final = 2_048  # RFC 7518 section 3.3
_RSA_BITS_MAX: Final = 8_192  # a larger one takes milliseconds for each token
_KEYS_MAX: Final = 64
_KEY_TYPES: Final = frozenset({"RSA", "EC", "OKP"})


class PublicKeyError(ValueError):
    """What should be a public key is none that can be used here."""


def require_cryptography() -> None:
    """See that the package is there.

    Raises:
        PublicKeyError: it is not.
    """
    try:
        import cryptography  # noqa: F401, PLC0415  # of the extra `crypto`
    except ImportError:
        raise PublicKeyError(
            "public keys need the package cryptography: install userservice[crypto]"
        ) from None


def read_pem(pem: bytes) -> VerifyingKey:
    """Return the key in a PEM text; it verifies tokens with any name of a key, or none.

    Raises:
        PublicKeyError: there is none that can be used.
    """
    require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    if b"PRIVATE KEY-----" in pem:
        raise PublicKeyError("it is a private key; give the public one")
    try:
        return _usable(None, load_pem_public_key(pem))
    except (ValueError, UnsupportedAlgorithm) as error:
        if isinstance(error, PublicKeyError):
            raise
        raise PublicKeyError("it is no public key in PEM (-----BEGIN PUBLIC KEY-----)") from None


def read_jwks(text: bytes) -> list[VerifyingKey]:
    """Return the keys of a set (RFC 7517 section 5) that can be used; others are left out.

    Raises:
        PublicKeyError: the text is no set of keys.
    """
    require_cryptography()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise PublicKeyError("it is no JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise PublicKeyError('it is no set of keys: {"keys": [...]}')
    if len(entries) > _KEYS_MAX:
        raise PublicKeyError(f"it has more than {_KEYS_MAX} keys")
    keys = []
    for entry in entries:
        key = _of_entry(entry)
        if key is not None:
            keys.append(key)
    return keys


def _of_entry(entry: Any) -> VerifyingKey | None:
    """Return a key of a set; None where it is for something else, or cannot be used."""
    import jwt  # noqa: PLC0415  # with it comes cryptography

    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    kid = entry.get("kid")
    # Whoever publishes a private key, or one to sign with, has no key.
    if entry.get("kty") not in _KEY_TYPES or "d" in entry or not isinstance(kid, str | None):
        return None
    try:
        found = _usable(kid, jwt.PyJWK(entry).key)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return found if entry.get("alg", found.algorithm) == found.algorithm else None


def _usable(kid: str | None, key: Any) -> VerifyingKey:
    from cryptography.hazmat.primitives.asymmetric.ec import (  # noqa: PLC0415
        SECP256R1,
        EllipticCurvePublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415

    match key:
        case RSAPublicKey() if _RSA_BITS_MIN <= key.key_size <= _RSA_BITS_MAX:
            return VerifyingKey(kid, "RS256", key)
        case EllipticCurvePublicKey() if isinstance(key.curve, SECP256R1):
            return VerifyingKey(kid, "ES256", key)
        case Ed25519PublicKey():
            return VerifyingKey(kid, "EdDSA", key)
    raise PublicKeyError(
        f"it is of no kind that is taken: RSA of {_RSA_BITS_MIN} to {_RSA_BITS_MAX} bits, P-256, "
        "or Ed25519"
    )
