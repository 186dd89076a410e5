"""The contract of what sign-in keeps: one suite, for every database."""

import asyncio
import datetime
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from userservice.users.model import Change, ChangeKind, NewUser, Role, User, UserUpdate
from userservice.users.storage.accounts import SESSIONS_MAX, Rotation, Session
from userservice.users.storage.urls import Repository, open_repository

NOBODY = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"
LATER = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
EARLIER = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=1)


@pytest.fixture
def changes() -> list[Change]:
    """What was committed."""
    return []


@pytest.fixture(params=["sqlite", "memory"])
async def accounts(
    request: pytest.FixtureRequest, tmp_path: Path, changes: list[Change]
) -> AsyncIterator[Repository]:
    """A new, empty repository of each kind."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/users.db"

    def committed(more: Sequence[Change]) -> None:
        changes.extend(more)

    opened = open_repository(url, committed)
    yield opened
    await opened.close()


@pytest.fixture
async def ann(accounts: Repository) -> User:
    """A user whose password has the hash "right"."""
    [user] = await accounts.create([NewUser("Ann@example.com", "Ann", Role.USER, "right")])
    assert user is not None
    return user


def session(
    user: User, name: str = "one", token: bytes = b"1", expires_at: datetime.datetime = LATER
) -> Session:
    """A session to be begun."""
    return Session(name, user.id, token, expires_at)


async def test_credentials_are_found_by_email_and_by_id(accounts: Repository, ann: User) -> None:
    """In any case; a user may have no password, and nobody has none either."""
    found = await accounts.credentials("ANN@example.COM")
    assert found is not None
    assert (found.user_id, found.email, found.password_hash) == (ann.id, ann.email, "right")
    assert "right" not in repr(found)
    assert await accounts.credentials_of(ann.id) == found
    assert await accounts.credentials("bob@example.com") is None
    assert await accounts.credentials_of(NOBODY) is None
    await accounts.create([NewUser("bob@example.com", "Bob", Role.USER)])
    without = await accounts.credentials("bob@example.com")
    assert without is not None
    assert without.password_hash is None


async def test_a_session_begins_with_the_password_that_is_there(
    accounts: Repository, ann: User
) -> None:
    """Not with one that was changed while it was verified, and not for nobody."""
    assert not await accounts.begin_session(session(ann), "old")
    assert await accounts.standing(ann.id, "one") is None
    assert await accounts.begin_session(session(ann), "right")
    assert await accounts.standing(ann.id, "one") is Role.USER
    assert not await accounts.begin_session(Session("two", NOBODY, b"1", LATER), "right")


async def test_a_token_is_good_once(accounts: Repository, ann: User) -> None:
    """Each gives the next; a used one ends the session, and so its last one."""
    await accounts.begin_session(session(ann), "right")
    assert await accounts.rotate_session("one", b"1", b"2", LATER) == Rotation(ann.id)
    assert await accounts.rotate_session("one", b"2", b"3", LATER) == Rotation(ann.id)
    again = await accounts.rotate_session("one", b"1", b"9", LATER)
    assert again == Rotation(ann.id, reused=True)
    assert await accounts.rotate_session("one", b"3", b"4", LATER) == Rotation(None)
    assert await accounts.standing(ann.id, "one") is None


async def test_of_many_at_once_one_gets_the_next_token(accounts: Repository, ann: User) -> None:
    """The others find it used."""
    await accounts.begin_session(session(ann), "right")
    rotations = await asyncio.gather(
        *(accounts.rotate_session("one", b"1", b"%d" % n, LATER) for n in range(2, 12))
    )
    assert rotations.count(Rotation(ann.id)) == 1
    assert rotations.count(Rotation(ann.id, reused=True)) == 1
    assert rotations.count(Rotation(None)) == 8


async def test_a_session_expires(accounts: Repository, ann: User) -> None:
    """When its token was not used for too long; no word of reuse."""
    await accounts.begin_session(session(ann, expires_at=EARLIER), "right")
    assert await accounts.rotate_session("one", b"1", b"2", LATER) == Rotation(None)
    assert await accounts.end_session("one") is None


async def test_what_has_expired_is_removed_in_time(accounts: Repository, ann: User) -> None:
    """By the next sign-in, of whomever."""
    [bob] = await accounts.create([NewUser("bob@example.com", "Bob", Role.USER, "his")])
    assert bob is not None
    await accounts.begin_session(session(bob, "old", expires_at=EARLIER), "his")
    await accounts.begin_session(session(ann), "right")
    assert await accounts.end_session("old") is None


async def test_a_user_has_so_many_sessions(accounts: Repository, ann: User) -> None:
    """One more ends the oldest."""
    names = [f"{number:03}" for number in range(SESSIONS_MAX + 1)]
    for name in names:
        assert await accounts.begin_session(session(ann, name), "right")
    standing = [await accounts.standing(ann.id, name) for name in names]
    assert standing == [None] + [Role.USER] * SESSIONS_MAX


async def test_a_session_is_ended_once(accounts: Repository, ann: User) -> None:
    """With the word of whose it was."""
    await accounts.begin_session(session(ann), "right")
    assert await accounts.end_session("one") == ann.id
    assert await accounts.end_session("one") is None
    assert await accounts.standing(ann.id) is Role.USER


async def test_a_new_password_ends_the_other_sessions(accounts: Repository, ann: User) -> None:
    """All but the one that changes it; one that lost the race changes nothing."""
    for name in ("here", "there"):
        await accounts.begin_session(session(ann, name), "right")
    assert not await accounts.change_password(ann.id, "old", "new", "here")
    assert await accounts.standing(ann.id, "there") is Role.USER
    assert await accounts.change_password(ann.id, "right", "new", "here")
    assert await accounts.standing(ann.id, "there") is None
    assert await accounts.standing(ann.id, "here") is Role.USER
    assert await accounts.change_password(ann.id, "new", "newer", None)
    assert await accounts.standing(ann.id, "here") is None


async def test_a_deleted_user_has_no_session(accounts: Repository, ann: User) -> None:
    """Nor a role."""
    await accounts.begin_session(session(ann), "right")
    await accounts.delete(ann.id)
    assert await accounts.standing(ann.id, "one") is None
    assert await accounts.standing(ann.id) is None
    assert accounts.role_of(ann.id) is None
    assert await accounts.rotate_session("one", b"1", b"2", LATER) == Rotation(None)


async def test_a_session_is_of_one_user(accounts: Repository, ann: User) -> None:
    """A token that names another one's is not good."""
    [bob] = await accounts.create([NewUser("bob@example.com", "Bob", Role.ADMIN, "his")])
    assert bob is not None
    await accounts.begin_session(session(ann), "right")
    assert await accounts.standing(bob.id, "one") is None


async def test_a_new_role_counts_at_once(accounts: Repository, ann: User) -> None:
    """For who waits, and for who does not."""
    await accounts.update(ann.id, UserUpdate(role=Role.MODERATOR))
    assert await accounts.standing(ann.id) is Role.MODERATOR
    assert accounts.role_of(ann.id) is Role.MODERATOR
    assert accounts.role_of(NOBODY) is None


async def test_a_user_is_promoted_by_email(
    accounts: Repository, ann: User, changes: list[Change]
) -> None:
    """It is a change like others; a new password ends the sessions, no password ends none."""
    await accounts.begin_session(session(ann), "right")
    assert await accounts.promote("ann@EXAMPLE.com", None) == ann.id
    assert await accounts.standing(ann.id, "one") is Role.ADMIN
    assert (changes[-1].kind, changes[-1].user.role) == (ChangeKind.UPDATED, Role.ADMIN)
    assert await accounts.promote("ann@example.com", "new") == ann.id
    assert await accounts.standing(ann.id, "one") is None
    found = await accounts.credentials_of(ann.id)
    assert found is not None
    assert found.password_hash == "new"
    assert await accounts.promote("bob@example.com", "new") is None
