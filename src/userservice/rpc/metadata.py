"""What the header fields that came say of gRPC: content-type and metadata (gRPC over HTTP/2)."""

import binascii
from typing import Final

from grpclib.encoding.base import GRPC_CONTENT_TYPE
from multidict import MultiDict

from userservice.rpc.errors import Metadata
from userservice.wire.compression import ACCEPTED
from userservice.wire.http2.headers import Fields

ACCEPT_ENCODING: Final = ("grpc-accept-encoding", ACCEPTED)
"""What either side says that it reads."""

_RESERVED: Final = frozenset({"te", "content-type", "user-agent"})
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
