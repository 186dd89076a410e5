"""The policy, row by row: each method and field, for each role, on itself and on others."""

import dataclasses
from typing import Any

import pytest

from userservice import (
    ChatMessage,
    CreateUserRequest,
    DeleteUserRequest,
    FieldMask,
    GetUserRequest,
    ListUsersRequest,
    UpdateUserRequest,
    WatchUserRequest,
)
from userservice import Role as ContractRole
from userservice._gen.userservice.v1 import AuthServiceBase, ChangePasswordRequest, UserServiceBase
from userservice.users import policy
from userservice.users.errors import NotAllowedError
from userservice.users.model import Role
from userservice.users.policy import Caller, check_call, check_request

OWN = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"
IDS = {role: f"{role.value:08}-2fa1-41d2-883f-0016d3cca427" for role in Role}
NOBODY = "ffffffff-2fa1-41d2-883f-0016d3cca427"
ROLES = {user_id: role for role, user_id in IDS.items()}

USER, MODERATOR, ADMIN = Role.USER, Role.MODERATOR, Role.ADMIN


def allows(role: Role, method: str, request: Any) -> bool:
    """Whether a caller of this role may make this request."""
    service = policy.AUTH if method == "ChangePassword" else policy.USERS
    caller = Caller(OWN, role)

    def role_of(user_id: str) -> Role | None:
        return role if user_id == OWN else ROLES.get(user_id)

    try:
        check_call(f"{service}{method}", caller)
        check_request(f"{service}{method}", caller, request, role_of)
    except NotAllowedError:
        return False
    return True


def who(method: str, request: Any) -> set[Role]:
    """Which roles may make this request."""
    return {role for role in Role if allows(role, method, request)}


READS = [("GetUser", GetUserRequest), ("WatchUser", WatchUserRequest)]
UPDATES = [
    {"name": "Ann"},
    {"avatar": "https://example.com"},
    {"update_mask": FieldMask(paths=["name", "avatar"])},
    {"update_mask": FieldMask(paths=["email"])},  # the service refuses it
    {},
]
PROMOTIONS: list[dict[str, Any]] = [
    {"role": ContractRole.USER},
    {"role": ContractRole.USER, "name": "Ann"},
    {"update_mask": FieldMask(paths=["role"])},
    {"update_mask": FieldMask(paths=["name", "role"])},
    {"update_mask": FieldMask(paths=["*"])},
    {"update_mask": FieldMask(paths=["*", "role"])},
    {"role": 77, "update_mask": FieldMask(paths=["role"])},
]


@pytest.mark.parametrize(("method", "request_type"), READS)
@pytest.mark.parametrize("other", [*IDS.values(), NOBODY, "", "no id"])
def test_oneself_is_read_by_all_and_others_by_moderators(
    method: str, request_type: Any, other: str
) -> None:
    """Whatever their role; whether somebody is there is not told to who may not read."""
    assert who(method, request_type(id=OWN)) == {USER, MODERATOR, ADMIN}
    assert who(method, request_type(id=OWN.upper())) == {USER, MODERATOR, ADMIN}
    assert who(method, request_type(id=other)) == {MODERATOR, ADMIN}


def test_lists_and_batches_are_for_moderators() -> None:
    """Users are not told of each other."""
    assert who("ListUsers", ListUsersRequest()) == {MODERATOR, ADMIN}
    assert who("BatchCreateUsers", CreateUserRequest()) == {MODERATOR, ADMIN}


@pytest.mark.parametrize("method", ["CreateUser", "BatchCreateUsers"])
@pytest.mark.parametrize(
    ("granted", "roles"),
    [
        (ContractRole.UNSPECIFIED, {MODERATOR, ADMIN}),
        (ContractRole.USER, {MODERATOR, ADMIN}),
        (ContractRole.MODERATOR, {MODERATOR, ADMIN}),
        (ContractRole.ADMIN, {ADMIN}),
        (77, {MODERATOR, ADMIN}),  # no role: the service refuses it
    ],
)
def test_nobody_creates_a_role_above_its_own(method: str, granted: Any, roles: set[Role]) -> None:
    """A moderator makes moderators, and no admin."""
    assert who(method, CreateUserRequest(role=granted)) == roles


@pytest.mark.parametrize("fields", UPDATES, ids=str)
def test_name_and_avatar_are_changed_by_oneself_and_from_above(fields: dict[str, Any]) -> None:
    """A moderator changes users, not moderators or admins; an admin changes all."""
    assert who("UpdateUser", UpdateUserRequest(id=OWN, **fields)) == {USER, MODERATOR, ADMIN}
    for other, roles in [
        (IDS[USER], {MODERATOR, ADMIN}),
        (IDS[MODERATOR], {ADMIN}),
        (IDS[ADMIN], {ADMIN}),
        (NOBODY, {MODERATOR, ADMIN}),
    ]:
        assert who("UpdateUser", UpdateUserRequest(id=other, **fields)) == roles


@pytest.mark.parametrize("other", [OWN, *IDS.values(), NOBODY])
@pytest.mark.parametrize("fields", PROMOTIONS, ids=str)
def test_a_role_is_changed_by_admins_alone(fields: dict[str, Any], other: str) -> None:
    """However the mask names it, and also to what it is: nobody promotes itself."""
    assert who("UpdateUser", UpdateUserRequest(id=other, **fields)) == {ADMIN}


def test_users_are_deleted_by_themselves_and_by_admins() -> None:
    """A moderator looks after others, and deletes nobody else."""
    assert who("DeleteUser", DeleteUserRequest(id=OWN)) == {USER, MODERATOR, ADMIN}
    for other in (*IDS.values(), NOBODY):
        assert who("DeleteUser", DeleteUserRequest(id=other)) == {ADMIN}


def test_everybody_chats_in_its_own_name() -> None:
    """Also an admin; an empty name is nobody's, and upper case is another text."""
    assert who("Chat", ChatMessage(sender_id=OWN, text="hi")) == {USER, MODERATOR, ADMIN}
    for sender in (*IDS.values(), "", "ann", OWN.upper()):
        assert who("Chat", ChatMessage(sender_id=sender, text="hi")) == set()


def test_everybody_changes_its_own_password() -> None:
    """The request names nobody else."""
    assert who("ChangePassword", ChangePasswordRequest()) == {USER, MODERATOR, ADMIN}


def test_what_is_not_in_the_table_is_for_admins() -> None:
    """A method that is added is closed until somebody says who may call it."""
    for method in ("/userservice.v1.UserService/Nothing", "/grpc.channelz.v1.Channelz/GetServers"):
        for role in Role:
            if role is ADMIN:
                check_call(method, Caller(OWN, role))
            else:
                with pytest.raises(NotAllowedError, match="allowed: admins"):
                    check_call(method, Caller(OWN, role))


def test_every_method_of_the_contract_is_in_the_table_or_open() -> None:
    """And the table has no other."""
    methods = {path for base in (UserServiceBase, AuthServiceBase) for path in base().__mapping__()}
    named = {key.partition(":")[0] for key in policy.POLICY}
    assert named | set(policy.OPEN) == methods
    assert named.isdisjoint(policy.OPEN)
    assert methods > policy.STREAMS


def test_a_refusal_says_what_and_who_may() -> None:
    """The method or the field, and each role that may."""
    with pytest.raises(NotAllowedError) as refusal:
        check_request(
            f"{policy.USERS}UpdateUser",
            Caller(OWN, USER),
            UpdateUserRequest(id=OWN, role=ContractRole.ADMIN),
            ROLES.get,
        )
    assert str(refusal.value) == "you may not set role in UpdateUser (allowed: admins for all)"
    with pytest.raises(NotAllowedError) as refusal:
        check_request(
            f"{policy.USERS}DeleteUser", Caller(OWN, USER), DeleteUserRequest(id=NOBODY), ROLES.get
        )
    assert str(refusal.value) == (
        "you may not call DeleteUser for this user (allowed: "
        "users for themselves, moderators for themselves, admins for all)"
    )


def test_a_higher_role_reaches_as_far() -> None:
    """In every row: no right is lost by a promotion."""
    reaches = list(policy.Reach)
    for key, rule in policy.POLICY.items():
        steps = [reaches.index(reach) for reach in dataclasses.astuple(rule)]
        assert steps == sorted(steps), key
