"""One place gives the errors of the domain their status and details (AIP-193)."""

import pytest
from grpclib.const import Status

from userservice.rpc.details import BadRequest, ErrorInfo, ResourceInfo
from userservice.users.errors import (
    EmailTakenError,
    InvalidRequestError,
    StorageUnavailableError,
    UserNotFoundError,
    UsersError,
    Violation,
)
from userservice.users.status import rpc_error


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (InvalidRequestError([Violation("name", "x")]), Status.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (UserNotFoundError("1"), Status.NOT_FOUND, "USER_NOT_FOUND"),
        (EmailTakenError("a@b.co"), Status.ALREADY_EXISTS, "EMAIL_TAKEN"),
        (StorageUnavailableError("locked"), Status.UNAVAILABLE, "STORAGE_UNAVAILABLE"),
    ],
)
def test_every_error_has_a_status_and_a_reason(
    error: UsersError, status: Status, reason: str
) -> None:
    """ErrorInfo is on all of them, in the domain userservice.v1."""
    mapped = rpc_error(error)
    assert mapped is not None
    assert mapped.status is status
    info = mapped.detail(ErrorInfo)
    assert info is not None
    assert (info.reason, info.domain) == (reason, "userservice.v1")


def test_invalid_requests_name_every_field() -> None:
    """BadRequest has all violations; the message has them too, for people."""
    mapped = rpc_error(InvalidRequestError([Violation("name", "is x"), Violation("role", "is y")]))
    assert mapped is not None
    assert mapped.message == "name: is x; role: is y"
    bad = mapped.detail(BadRequest)
    assert bad is not None
    assert [(v.field, v.description) for v in bad.field_violations] == [
        ("name", "is x"),
        ("role", "is y"),
    ]


@pytest.mark.parametrize("error", [UserNotFoundError("1"), EmailTakenError("1")])
def test_a_resource_is_named(error: UsersError) -> None:
    """ResourceInfo says which user is not there, or is there already."""
    mapped = rpc_error(error)
    assert mapped is not None
    resource = mapped.detail(ResourceInfo)
    assert resource is not None
    assert (resource.resource_type, resource.resource_name) == ("userservice.v1.User", "1")


def test_what_storage_says_stays_in_the_house() -> None:
    """The text of a database error may hold paths: it is not sent."""
    mapped = rpc_error(StorageUnavailableError("disk I/O error at /secret/path"))
    assert mapped is not None
    assert "secret" not in str(mapped)


def test_an_unknown_error_has_no_status() -> None:
    """It is the server's to log, and to hide."""
    assert rpc_error(ValueError("x")) is None
