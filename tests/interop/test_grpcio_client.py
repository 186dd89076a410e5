"""grpcio, the C core, calls every unary method of our server."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import grpc
import pytest

if TYPE_CHECKING:
    from tests.interop.conftest import Contract


def test_a_created_user_can_be_read_changed_and_deleted(
    contract: Contract, stub: Any, domain: str
) -> None:
    """Create, get, update and delete work on one user, and after that it is NOT_FOUND."""
    pb = contract.messages
    before = datetime.datetime.now(datetime.UTC)
    created = stub.CreateUser(
        pb.CreateUserRequest(
            email=f"Ann@{domain}", name=" Ann ", password="correct horse", role=pb.ROLE_ADMIN
        )
    )
    after = datetime.datetime.now(datetime.UTC)

    assert (created.email, created.name, created.role) == (f"Ann@{domain}", "Ann", pb.ROLE_ADMIN)
    assert before <= created.created_at.ToDatetime(datetime.UTC) <= after
    assert created.created_at == created.updated_at
    assert created.created_at.nanos % 1_000 == 0
    assert stub.GetUser(pb.GetUserRequest(id=created.id)) == created

    updated = stub.UpdateUser(
        pb.UpdateUserRequest(id=created.id, name="Anna", update_mask={"paths": ["name"]})
    )
    assert updated.name == "Anna"
    assert updated.updated_at.ToNanoseconds() > created.updated_at.ToNanoseconds()
    assert stub.GetUser(pb.GetUserRequest(id=created.id)) == updated

    assert stub.DeleteUser(pb.DeleteUserRequest(id=created.id)).ByteSize() == 0
    with pytest.raises(grpc.RpcError) as error:
        stub.GetUser(pb.GetUserRequest(id=created.id))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


def test_an_unspecified_role_becomes_user(contract: Contract, stub: Any, domain: str) -> None:
    """A field that is not on the wire has its default, and an unspecified role is ROLE_USER."""
    pb = contract.messages
    created = stub.CreateUser(pb.CreateUserRequest(email=f"ann@{domain}", name="Ann"))
    assert (created.role, created.avatar) == (pb.ROLE_USER, "")


@pytest.mark.parametrize(
    ("paths", "name", "avatar"),
    [
        (["name"], "New", "http://old"),
        (["avatar"], "Old", "http://new"),
        (["avatar", "name"], "New", "http://new"),
        (["*"], "New", "http://new"),
        ([], "New", "http://new"),
    ],
)
def test_an_update_changes_what_its_mask_names(
    contract: Contract, stub: Any, domain: str, paths: list[str], name: str, avatar: str
) -> None:
    """Only masked fields change; without a mask, all that are set."""
    pb = contract.messages
    user = stub.CreateUser(pb.CreateUserRequest(email=f"ann@{domain}", name="Old"))
    stub.UpdateUser(pb.UpdateUserRequest(id=user.id, avatar="http://old"))
    updated = stub.UpdateUser(
        pb.UpdateUserRequest(
            id=user.id, name="New", avatar="http://new", update_mask={"paths": paths}
        )
    )
    assert (updated.name, updated.avatar, updated.role) == (name, avatar, pb.ROLE_USER)


def test_a_masked_empty_avatar_is_cleared(contract: Contract, stub: Any, domain: str) -> None:
    """The mask tells an empty value from one that was not sent."""
    pb = contract.messages
    user = stub.CreateUser(pb.CreateUserRequest(email=f"ann@{domain}", name="Ann"))
    stub.UpdateUser(pb.UpdateUserRequest(id=user.id, avatar="http://old"))
    updated = stub.UpdateUser(pb.UpdateUserRequest(id=user.id, update_mask={"paths": ["avatar"]}))
    assert (updated.name, updated.avatar) == ("Ann", "")


def test_a_list_comes_filtered_ordered_and_page_by_page(
    contract: Contract, stub: Any, domain: str
) -> None:
    """Following next_page_token gives every match once, in order, and the total on each page."""
    pb = contract.messages
    for number in range(10):
        role = pb.ROLE_ADMIN if number % 2 else pb.ROLE_USER
        stub.CreateUser(
            pb.CreateUserRequest(email=f"user{number}@{domain}", name=f"User {number}", role=role)
        )
    request = pb.ListUsersRequest(
        page_size=2, filter=f'role=ADMIN AND email:"@{domain}"', order_by="name desc"
    )
    pages = []
    while True:
        page = stub.ListUsers(request)
        pages.append([user.name for user in page.users])
        assert page.total_count == 5
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert pages == [["User 9", "User 7"], ["User 5", "User 3"], ["User 1"]]


def test_a_page_token_is_good_for_its_own_list_only(
    contract: Contract, stub: Any, domain: str
) -> None:
    """A token with another filter, or a changed one, is INVALID_ARGUMENT."""
    pb = contract.messages
    for name in ("ann", "ben"):
        stub.CreateUser(pb.CreateUserRequest(email=f"{name}@{domain}", name=name))
    own = f'email:"@{domain}"'
    token = stub.ListUsers(pb.ListUsersRequest(page_size=1, filter=own)).next_page_token
    for wrong in (
        pb.ListUsersRequest(page_token=token, filter="role=ADMIN"),
        pb.ListUsersRequest(page_token=f"{token}x", filter=own),
    ):
        with pytest.raises(grpc.RpcError) as error:
            stub.ListUsers(wrong)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
