"""grpcio reads what our server says about calls that fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.conftest import Contract

NOBODY = "00000000-0000-4000-8000-000000000000"
SERVICE = "/userservice.v1.UserService"


def failed(call: Callable[[], Any]) -> tuple[grpc.StatusCode, dict[str, Any]]:
    """Return the status of a call that fails, and its details by the name of their type."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    # Refuses a google.rpc.Status whose code or message is not that of the call.
    status = rpc_status.from_call(caught.value)
    details = {}
    for packed in status.details:
        name = packed.TypeName().rpartition(".")[2]
        details[name] = getattr(error_details_pb2, name)()
        assert packed.Unpack(details[name])
    return caught.value.code(), details


def test_an_invalid_request_names_every_field(contract: Contract, stub: Any) -> None:
    """INVALID_ARGUMENT has a BadRequest with all violations at once."""
    pb = contract.messages
    request = pb.CreateUserRequest(email="no email", name="\u202e", password="short", role=9)
    code, details = failed(lambda: stub.CreateUser(request))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    fields = [violation.field for violation in details["BadRequest"].field_violations]
    assert fields == ["email", "name", "password", "role"]
    assert details["ErrorInfo"].domain == "userservice.v1"
    assert details["ErrorInfo"].reason


@pytest.mark.parametrize("text", ["\U000e0001", "\U0001f600", "\x00", "ä", "x"])
def test_a_hostile_request_gets_its_status_and_no_flood_of_headers(
    contract: Contract, stub: Any, text: str
) -> None:
    """grpcio refuses more than 8 KiB of headers at random: whatever is quoted stays far below."""
    pb = contract.messages
    update = pb.UpdateUserRequest(id="x", name="\u202e", avatar="ä")
    update.update_mask.paths.extend([f"{text * 40}{number}" for number in range(20)])
    update.update_mask.paths.extend(["name", "avatar", "role"])
    listing = pb.ListUsersRequest(
        page_size=-1, filter=text * 1_900, order_by=text * 400, page_token=text * 500
    )
    for _ in range(10):
        for call in (lambda: stub.UpdateUser(update), lambda: stub.ListUsers(listing)):
            code, details = failed(call)
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert details["BadRequest"].ByteSize() < 4_000


@pytest.mark.parametrize("method", ["GetUser", "UpdateUser", "DeleteUser", "WatchUser"])
def test_a_missing_user_is_named(contract: Contract, stub: Any, method: str) -> None:
    """NOT_FOUND has a ResourceInfo with the user that is not there."""
    request = getattr(contract.messages, f"{method}Request")(id=NOBODY)
    # A stream fails where it is read.
    code, details = failed(lambda: list(getattr(stub, method)(request)))
    assert code is grpc.StatusCode.NOT_FOUND
    assert details["ResourceInfo"].resource_name == NOBODY
    assert details["ResourceInfo"].resource_type == "userservice.v1.User"
    assert details["ErrorInfo"].domain == "userservice.v1"


def test_a_taken_email_is_named(contract: Contract, stub: Any, domain: str) -> None:
    """ALREADY_EXISTS has a ResourceInfo with the email, which counts without regard to case."""
    pb = contract.messages
    stub.CreateUser(pb.CreateUserRequest(email=f"ann@{domain}", name="Ann"))
    taken = pb.CreateUserRequest(email=f"ANN@{domain}", name="Ann")
    code, details = failed(lambda: stub.CreateUser(taken))
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert details["ResourceInfo"].resource_name == f"ANN@{domain}"
    assert details["ErrorInfo"].domain == "userservice.v1"


@pytest.mark.parametrize(
    ("path"), [f"{SERVICE}/RenameUser", "/userservice.v2.UserService/GetUser", "/nobody/Nothing"]
)
def test_an_unknown_method_is_unimplemented(channel: grpc.Channel, path: str) -> None:
    """A method that the server does not have is UNIMPLEMENTED."""
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(path)(b"")
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


# What follows the tag of a string field.
MALFORMED = {
    "no UTF-8": b"\x02\xc3\x28",
    "a truncated string": b"\x7fann",
    "a truncated length": b"\xff",
    "no length": b"",
    "no tag after the string": b"\x03ann" + b"\xff" * 32,
    "field number 0 after the string": b"\x03ann\x00\x00",
}


@pytest.mark.parametrize("malformed", MALFORMED)
@pytest.mark.parametrize(
    "method", ["GetUser", "CreateUser", "UpdateUser", "DeleteUser", "ListUsers", "WatchUser"]
)
def test_bytes_that_are_no_message_are_refused(
    contract: Contract, stub: Any, channel: grpc.Channel, method: str, malformed: str
) -> None:
    """A request that cannot be parsed is INTERNAL (gRPC's statuscodes.md)."""
    first_string = b"\x12" if method == "ListUsers" else b"\x0a"
    responses = channel.unary_stream(f"{SERVICE}/{method}")(first_string + MALFORMED[malformed])
    code, details = failed(lambda: list(responses))
    assert code is grpc.StatusCode.INTERNAL
    assert details["ErrorInfo"].reason


def test_a_message_cut_short_stores_nothing(
    contract: Contract, stub: Any, channel: grpc.Channel, domain: str
) -> None:
    """A CreateUserRequest that lacks its last byte is INTERNAL, and creates nobody."""
    pb = contract.messages
    user = pb.CreateUserRequest(email=f"ann@{domain}", name="Ann", password="correct horse")
    cut = user.SerializeToString()[:-1]
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(f"{SERVICE}/CreateUser")(cut)
    assert error.value.code() is grpc.StatusCode.INTERNAL
    stored = stub.ListUsers(pb.ListUsersRequest(filter=f'email:"@{domain}"'))
    assert stored.total_count == 0


def test_a_field_of_another_wire_type_is_no_fault_of_the_server(channel: grpc.Channel) -> None:
    """What has another wire type than its field, here a page_size of bytes, is never UNKNOWN."""
    call = channel.unary_unary(f"{SERVICE}/ListUsers").future(b"\x0a\x03ann")
    # Protobuf skips it, as an unknown field.
    assert call.code() in {grpc.StatusCode.OK, grpc.StatusCode.INTERNAL}


@pytest.mark.parametrize("method", ["BatchCreateUsers", "Chat"])
def test_bytes_that_are_no_message_end_a_stream(channel: grpc.Channel, method: str) -> None:
    """In the middle of a stream of requests they are INTERNAL too."""
    good, bad = b"\x0a\x03ann\x12\x03Ann", b"\x0a\x02\xc3\x28"
    responses = channel.stream_stream(f"{SERVICE}/{method}")(iter([good, bad, good]))
    code, _ = failed(lambda: list(responses))
    assert code is grpc.StatusCode.INTERNAL
