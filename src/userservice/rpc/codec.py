"""grpclib's two codec extension points, for betterproto2 messages.

Messages of Google's runtime, which grpclib's health and reflection plugins use,
pass through it unchanged.
"""

from collections.abc import Sequence
from typing import Any

import betterproto2
from grpclib.const import Status
from grpclib.encoding.base import CodecBase, StatusDetailsCodecBase

from userservice._gen.google import protobuf, rpc
from userservice._gen.message_pool import default_message_pool
from userservice.rpc.errors import InternalError
from userservice.wire.protobuf import DecodeError, decode, encode


class _IsOurs(dict[type[Any], bool]):
    """Whether a message class is one of betterproto2's.

    They are abstract base classes, whose `isinstance` takes 0.3 us: as much as a small
    message.
    """

    def __missing__(self, message_type: type[Any]) -> bool:
        ours = self[message_type] = issubclass(message_type, betterproto2.Message)
        return ours


_is_ours = _IsOurs()


class MessageCodec(CodecBase):
    """Encodes and decodes the messages of a call."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: type[Any]) -> bytes:
        """Return the message as bytes.

        Raises:
            TypeError: it is a message of another type.
        """
        if not isinstance(message, message_type):
            raise TypeError(
                f"a {message_type.__name__} belongs here, not a {type(message).__name__}"
            )
        if _is_ours[message_type]:
            return encode(message)
        data: bytes = message.SerializeToString()
        return data

    def decode(self, data: bytes, message_type: type[Any]) -> Any:
        """Return the message that the bytes hold.

        Raises:
            InternalError: they hold none (gRPC's statuscodes.md: "Error parsing
                request proto" is INTERNAL).
        """
        try:
            if _is_ours[message_type]:
                return decode(message_type, data)
            return _decode_google(data, message_type)
        except DecodeError as error:
            raise InternalError(
                f"the message is no valid {message_type.__name__}",
                [rpc.ErrorInfo(reason="MALFORMED_MESSAGE", domain="grpc.io")],
            ) from error


def _decode_google(data: bytes, message_type: type[Any]) -> Any:
    # Its runtime is not imported before one of its classes is there: that takes a third of
    # the time in which a program starts that only calls.
    from google.protobuf.message import DecodeError as GoogleDecodeError  # noqa: PLC0415

    try:
        return message_type.FromString(data)
    except GoogleDecodeError as error:
        raise DecodeError(str(error)) from error


class StatusDetailsCodec(StatusDetailsCodecBase):
    """Carries google.rpc.Status in ``grpc-status-details-bin``, with typed details."""

    def encode(
        self,
        status: Status,
        message: str | None,
        details: Sequence[betterproto2.Message] | None,
    ) -> bytes:
        """Return the google.rpc.Status of an error as bytes."""
        packed = [_pack(detail) for detail in details or ()]
        return encode(rpc.Status(code=status.value, message=message or "", details=packed))

    def decode(
        self,
        status: Status,  # noqa: ARG002  # grpclib's interface: the data says it all
        message: str | None,  # noqa: ARG002  # likewise
        data: bytes,
    ) -> Sequence[betterproto2.Message]:
        """Return the details, typed; one of an unknown type stays an Any.

        Broken bytes give no details: the status itself is still the answer.
        """
        try:
            return [_unpack(detail) for detail in decode(rpc.Status, data).details]
        except DecodeError:
            return []


def _pack(detail: betterproto2.Message) -> protobuf.Any:
    if isinstance(detail, protobuf.Any):
        return detail
    return protobuf.Any(
        type_url=default_message_pool.type_to_url[type(detail)], value=encode(detail)
    )


def _unpack(detail: protobuf.Any) -> betterproto2.Message:
    message_type = default_message_pool.url_to_type.get(detail.type_url)
    return detail if message_type is None else decode(message_type, detail.value)
