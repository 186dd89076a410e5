"""Header fields as gRPC means them: content-type, metadata and messages (gRPC over HTTP/2)."""

import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

from grpclib.encoding.base import GRPC_CONTENT_TYPE
from grpclib.metadata import encode_bin_value, encode_grpc_message
from multidict import MultiDict

from userservice.rpc.errors import Metadata
from userservice.wire.compression import ACCEPTED
from userservice.wire.http2.headers import Fields

ACCEPT_ENCODING: Final = ("grpc-accept-encoding", ACCEPTED)
"""What either side says that it reads."""

_RESERVED: Final = frozenset({"te", "content-type", "user-agent"})
_KEY: Final = re.compile(r"[0-9a-z_.-]+").fullmatch
# What can be a field's value once there are no blanks around it (RFC 9113 section 8.2.1). gRPC
# wants less, but also that whoever got a value can send it back.
_VALUE: Final = re.compile(r"[^\0\r\n\u0100-\U0010ffff]*").fullmatch
_BLANKS: Final = " \t"


def is_grpc(content_type: str, content_subtype: str) -> bool:
    """Return whether a content-type is gRPC's, with messages of this subtype; proto by default.

    Parameters mean nothing here, and upper case is lower case (RFC 9110 section 8.3.1).
    """
    if content_type == GRPC_CONTENT_TYPE:  # as most clients say it
        return content_subtype == "proto"
    media_type = content_type.partition(";")[0].rstrip(_BLANKS).lower()
    base, _, subtype = media_type.partition("+")
    return base == GRPC_CONTENT_TYPE and (subtype or "proto") == content_subtype


def read_metadata(fields: Fields) -> Metadata:
    """Return the metadata among these fields.

    A ``-bin`` value that is no base64 is left out: it says nothing, and must not keep the
    call's status from who waits for it.
    """
    metadata: Metadata = MultiDict()
    for name, value in fields:
        if name[0] == ":" or name.startswith("grpc-") or name in _RESERVED:
            continue
        if not name.endswith("-bin"):
            metadata.add(name, value)
            continue
        # A proxy may have joined values with commas, which no base64 has in it.
        for part in value.split(",") if "," in value else (value,):
            octets = read_binary(part.strip())
            if octets is not None:
                metadata.add(name, octets)
    return metadata


def read_binary(value: str) -> bytes | None:
    """Return the bytes of a ``-bin`` value, with or without padding, or None if it is none."""
    digits = value.rstrip("=")
    try:
        return binascii.a2b_base64(digits + "=" * (-len(digits) % 4), strict_mode=True)
    except ValueError:  # binascii.Error is one; so is text that is not ASCII
        return None


def encode_metadata(metadata: Any) -> list[tuple[str, str]]:
    """Return the header fields of metadata: a mapping, or pairs.

    Blanks around a value are left out, as HTTP/2 asks for.

    Raises:
        TypeError: a value is not of the type that its key asks for: bytes where it ends in
            ``-bin``, and text elsewhere.
        ValueError: a key or value can be no header field, or the key is reserved.
    """
    pairs = metadata.items() if isinstance(metadata, Mapping) else metadata
    return [(key, _encode_value(key, value)) for key, value in pairs]


def _encode_value(key: str, value: Any) -> str:
    if key in _RESERVED or key.startswith("grpc-") or not _KEY(key):
        raise ValueError(f"no key of metadata: {key!r}")
    if key.endswith("-bin"):
        if not isinstance(value, bytes):
            raise TypeError(f"the metadata {key} is bytes, not {type(value).__name__}")
        return encode_bin_value(value).decode("ascii")
    if not isinstance(value, str):
        raise TypeError(f"the metadata {key} is text, not {type(value).__name__}")
    if not _VALUE(value):
        raise ValueError(f"the metadata {key} is no value of a header field")
    return value.strip(_BLANKS)


def encode_message(message: str) -> str:
    """Return the message of a status as a header's value (gRPC over HTTP/2, "Status-Message").

    A blank at either end is encoded too: HTTP/2 takes no value that has one there.
    """
    encoded = encode_grpc_message(message)
    inner = encoded.strip(" ")
    if inner == encoded:
        return encoded
    start = len(encoded) - len(encoded.lstrip(" "))
    end = len(encoded) - start - len(inner)
    return "%20" * start + inner + "%20" * end
