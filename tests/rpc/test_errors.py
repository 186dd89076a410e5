"""Every status has its class, and errors carry typed details across the wire."""

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

import userservice
from userservice._gen.google.protobuf import Any, Empty
from userservice._gen.google.rpc import Status as StatusMessage
from userservice.rpc import NotFoundError, RpcError
from userservice.rpc.codec import StatusDetailsCodec
from userservice.rpc.details import BadRequest, ErrorInfo
from userservice.rpc.errors import rpc_error


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_every_status_has_a_class(status: Status) -> None:
    """NOT_FOUND is NotFoundError, and so on; each is public and an RpcError."""
    error = rpc_error(GRPCError(status, "why"))
    name = "".join(word.title() for word in status.name.split("_")) + "Error"
    assert type(error) is getattr(userservice, name)
    assert isinstance(error, RpcError)
    assert isinstance(error, GRPCError)
    assert (error.status, error.message) == (status, "why")
    assert str(error) == f"{status.name}: why"


def test_an_error_without_a_message_is_its_status() -> None:
    """Nothing is made up."""
    assert str(NotFoundError()) == "NOT_FOUND"


def test_details_are_found_by_their_type() -> None:
    """detail() returns the first of a type, or None."""
    error = NotFoundError("x", [ErrorInfo(reason="A"), ErrorInfo(reason="B")])
    found = error.detail(ErrorInfo)
    assert found is not None
    assert found.reason == "A"
    assert error.detail(BadRequest) is None
    assert NotFoundError("x").detail(BadRequest) is None


def test_details_cross_the_wire_typed() -> None:
    """What is packed is unpacked; a type that nobody here knows stays an Any."""
    codec = StatusDetailsCodec()
    unknown = Any(type_url="type.googleapis.com/who.Knows", value=b"\x08\x01")
    data = codec.encode(Status.NOT_FOUND, "gone", [ErrorInfo(reason="A"), Empty(), unknown])
    assert StatusMessage.parse(data).message == "gone"
    assert list(codec.decode(Status.NOT_FOUND, "gone", data)) == [
        ErrorInfo(reason="A"),
        Empty(),
        unknown,
    ]


@pytest.mark.parametrize("data", [b"\xff", b"\x1a\x7f", b"\x1a\x06\x12\x04\xff\xff\xff\xff"])
def test_broken_details_leave_the_status(data: bytes) -> None:
    """Details that cannot be read are none: the status is still the answer."""
    assert not [
        detail
        for detail in StatusDetailsCodec().decode(Status.NOT_FOUND, None, data)
        if not isinstance(detail, Any)
    ]
