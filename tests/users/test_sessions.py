"""Sign-in: sessions, refresh tokens, and who tries too often."""

import asyncio
import base64
import datetime
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs
from tests.users.fast_hasher import FastHasher

from userservice.users import sessions as module
from userservice.users.errors import (
    InvalidRequestError,
    SessionEndedError,
    SignInFailedError,
    TooManyAttemptsError,
    UserGoneError,
    UsersError,
)
from userservice.users.model import NewUser, Role, User
from userservice.users.sessions import OF_EMAIL, OF_PEER, SESSION_CLAIM, WAITING_MAX, Sessions
from userservice.users.storage.urls import Repository

PASSWORD = "correct horse battery"
PEER = "192.0.2.1:5000"


@dataclass
class AccessTokens:
    """Access tokens that show what they say."""

    lifetime_s: float = 600
    issued: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def issue(self, subject_id: str, /, **claims: Any) -> str:
        self.issued.append((subject_id, claims))
        return f"access {len(self.issued)}"


class Stand:
    """Sessions, and what they work with."""

    def __init__(self, accounts: Repository) -> None:
        self.accounts = accounts
        self.hasher = FastHasher()
        self.tokens = AccessTokens()
        self.ended: list[str] = []
        self.now = 1_000.0
        self.sessions = Sessions(
            accounts, self.hasher, self.tokens, self.ended.append, lambda: self.now
        )

    async def sign_in(self, password: str = PASSWORD, peer: str = PEER) -> str:
        """Sign Ann in, and return the refresh token."""
        return (await self.sessions.sign_in("ann@example.com", password, peer)).refresh

    @property
    def session(self) -> str:
        """The session of the access token that was issued last."""
        return self.tokens.issued[-1][1][SESSION_CLAIM]


@pytest.fixture
async def stand(repository: Repository) -> Stand:
    """Sessions of a repository in memory."""
    return Stand(repository)


@pytest.fixture
async def ann(repository: Repository) -> User:
    """A user with a password."""
    new = NewUser("Ann@example.com", "Ann", Role.USER, f"hash of {PASSWORD}")
    [user] = await repository.create([new])
    assert user is not None
    return user


async def test_a_password_gives_tokens(stand: Stand, ann: User) -> None:
    """An access token of the user and the session; the email is in any case."""
    tokens = await stand.sessions.sign_in("ANN@example.com", PASSWORD, PEER)
    assert tokens.access == "access 1"
    assert tokens.expires_in == datetime.timedelta(minutes=10)
    assert stand.tokens.issued == [(ann.id, {SESSION_CLAIM: stand.session})]
    assert await stand.accounts.standing(ann.id, stand.session) is Role.USER
    assert tokens.refresh not in repr(tokens)
    assert tokens.access not in repr(tokens)


async def test_nothing_that_is_kept_gives_a_token(
    stand: Stand, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the row, nor the claim, nor the log."""
    with capture_logs() as lines:
        # One of its own: that of the module may have been configured for good.
        monkeypatch.setattr(module, "log", structlog.get_logger())
        refresh = await stand.sign_in()
    halves = refresh.split(".")
    assert [len(base64.urlsafe_b64decode(f"{half}=")) for half in halves] == [32, 32]
    rows = stand.accounts._writer.execute("SELECT * FROM sessions").fetchall()  # type: ignore[attr-defined]  # what is in the file
    assert len(rows) == 1
    assert [line["event"] for line in lines] == ["signed in"]
    for half in halves:
        assert half not in str(rows)
        assert half not in stand.session
        assert half not in str(lines)


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("ann@example.com", "wrong horse battery"),
        ("bob@example.com", PASSWORD),
        ("none@example.com", PASSWORD),
    ],
)
async def test_whatever_is_wrong_fails_alike(
    stand: Stand, ann: User, email: str, password: str
) -> None:
    """The same error, and the same work: one hash, also where there is nothing to compare."""
    await stand.accounts.create([NewUser("none@example.com", "No password", Role.USER)])
    with pytest.raises(SignInFailedError) as failure:
        await stand.sessions.sign_in(email, password, PEER)
    assert str(failure.value) == str(SignInFailedError())
    assert len(stand.hasher.verified) == 1
    assert stand.tokens.issued == []


async def test_what_cannot_be_right_is_refused_before(stand: Stand) -> None:
    """No email, no password, or too much of one: without a hash."""
    for email, password, fields in [
        ("", "", ["email", "password"]),
        ("ann", PASSWORD, ["email"]),
        ("ann@example.com", "x" * 1_025, ["password"]),
    ]:
        with pytest.raises(InvalidRequestError) as refusal:
            await stand.sessions.sign_in(email, password, PEER)
        assert [violation.field for violation in refusal.value.violations] == fields
    assert stand.hasher.verified == []


async def test_a_refresh_token_is_good_once(stand: Stand, ann: User) -> None:
    """Each gives the next one, of the same session; a used one ends it for its thief as well."""
    first = await stand.sign_in()
    session = stand.session
    second = (await stand.sessions.refresh(first)).refresh
    third = (await stand.sessions.refresh(second)).refresh
    assert stand.tokens.issued[-1] == (ann.id, {SESSION_CLAIM: session})
    assert stand.ended == []
    with pytest.raises(SessionEndedError):
        await stand.sessions.refresh(first)
    assert stand.ended == [ann.id]
    with pytest.raises(SessionEndedError):
        await stand.sessions.refresh(third)
    assert await stand.accounts.standing(ann.id, session) is None


async def test_of_refreshes_at_once_one_wins(stand: Stand, ann: User) -> None:
    """And the session ends: the two cannot be told apart from a thief and its victim."""
    refresh = await stand.sign_in()
    results = await asyncio.gather(
        *(stand.sessions.refresh(refresh) for _ in range(5)), return_exceptions=True
    )
    [winner] = [result for result in results if not isinstance(result, BaseException)]
    with pytest.raises(SessionEndedError):
        await stand.sessions.refresh(winner.refresh)


@pytest.mark.parametrize("text", [".", "x", "x.y", "." * 1_000, "\x00", "ä.ö"])
async def test_what_is_no_refresh_token_ends_nothing(stand: Stand, ann: User, text: str) -> None:
    """Nobody can end the session of another by guessing: its name is no half of a token."""
    refresh = await stand.sign_in()
    for guess in (text, f"{stand.session}.x", refresh.partition(".")[2]):
        with pytest.raises(SessionEndedError):
            await stand.sessions.refresh(guess)
        await stand.sessions.sign_out(guess)
    assert stand.ended == []
    await stand.sessions.refresh(refresh)


async def test_a_refresh_token_expires(
    stand: Stand, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is not used for too long."""
    monkeypatch.setattr(module, "UNUSED_MAX", datetime.timedelta(0))
    refresh = await stand.sign_in()
    with pytest.raises(SessionEndedError):
        await stand.sessions.refresh(refresh)


async def test_signing_out_ends_one_session(stand: Stand, ann: User) -> None:
    """Others go on; also an old token of the session ends it; twice is once."""
    other = await stand.sign_in()
    refresh = await stand.sign_in()
    await stand.sessions.refresh(refresh)
    for _ in range(2):
        await stand.sessions.sign_out(refresh)
    assert stand.ended == [ann.id]
    assert await stand.accounts.standing(ann.id, stand.session) is None
    await stand.sessions.refresh(other)


async def test_a_deleted_user_s_tokens_are_good_for_nothing(stand: Stand, ann: User) -> None:
    """Neither a refresh token nor the password."""
    refresh = await stand.sign_in()
    await stand.accounts.delete(ann.id)
    with pytest.raises(SessionEndedError):
        await stand.sessions.refresh(refresh)
    with pytest.raises(SignInFailedError):
        await stand.sign_in()


# Passwords


async def test_a_new_password_ends_the_other_sessions(stand: Stand, ann: User) -> None:
    """The one that changes it goes on."""
    there = await stand.sign_in()
    here = await stand.sign_in()
    await stand.sessions.change_password(ann.id, stand.session, PASSWORD, "another one", PEER)
    assert stand.ended == [ann.id]
    with pytest.raises(SessionEndedError):
        await stand.sessions.refresh(there)
    await stand.sessions.refresh(here)
    with pytest.raises(SignInFailedError):
        await stand.sign_in()
    await stand.sign_in("another one")


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("wrong", "another one", SignInFailedError),
        (PASSWORD, "short", InvalidRequestError),
        (PASSWORD, "", InvalidRequestError),
        ("", "another one", InvalidRequestError),
        (PASSWORD, "x" * 1_025, InvalidRequestError),
    ],
)
async def test_a_password_is_not_changed_without_both(
    stand: Stand, ann: User, old: str, new: str, error: type[UsersError]
) -> None:
    """The old one is right, and the new one keeps the rules, told once."""
    with pytest.raises(error) as refusal:
        await stand.sessions.change_password(ann.id, None, old, new, PEER)
    if isinstance(refusal.value, InvalidRequestError):
        assert len(refusal.value.violations) == 1
    await stand.sign_in()


async def test_nobody_changes_no_password(stand: Stand) -> None:
    """Who calls may be no user any more, or a certificate."""
    with pytest.raises(UserGoneError):
        await stand.sessions.change_password("nobody", None, PASSWORD, "another one", PEER)


async def test_a_password_that_changes_meanwhile_is_wrong(stand: Stand, ann: User) -> None:
    """A sign-in with the old one does not begin a session after the change."""
    verify = stand.hasher.verify

    async def verify_slowly(password: str, text: str | None) -> bool:
        right = await verify(password, text)
        await stand.accounts.change_password(ann.id, f"hash of {PASSWORD}", "hash of new", None)
        return right

    stand.hasher.verify = verify_slowly  # type: ignore[method-assign]  # for this test alone
    with pytest.raises(SignInFailedError):
        await stand.sign_in()
    assert stand.tokens.issued == []


# Attempts


async def test_an_email_can_be_tried_so_often(stand: Stand, ann: User) -> None:
    """From whatever address, and with the right password too, until time has passed."""
    for number in range(OF_EMAIL.at_once):
        with pytest.raises(SignInFailedError):
            await stand.sign_in("wrong", f"192.0.2.{number}:1")
    with pytest.raises(TooManyAttemptsError) as refusal:
        await stand.sign_in(peer="198.51.100.1:1")
    assert refusal.value.wait_s == OF_EMAIL.every_s
    assert len(stand.hasher.verified) == OF_EMAIL.at_once
    stand.now += OF_EMAIL.every_s
    await stand.sign_in()


async def test_an_email_that_nobody_has_is_limited_alike(stand: Stand) -> None:
    """Or the limit would tell who is there."""
    for number in range(OF_EMAIL.at_once):
        with pytest.raises(SignInFailedError):
            await stand.sessions.sign_in("bob@example.com", "wrong", f"192.0.2.{number}:1")
    with pytest.raises(TooManyAttemptsError):
        await stand.sessions.sign_in("BOB@example.com", "wrong", "198.51.100.1:1")


async def test_an_address_can_try_so_often(stand: Stand, ann: User) -> None:
    """Whatever the email; another address can go on."""
    for number in range(OF_PEER.at_once):
        with pytest.raises(SignInFailedError):
            await stand.sessions.sign_in(f"u{number}@example.com", "wrong", f"192.0.2.1:{number}")
    with pytest.raises(TooManyAttemptsError):
        await stand.sign_in()
    await stand.sign_in(peer="192.0.2.2:5000")


async def test_who_signs_in_rightly_is_not_counted(stand: Stand, ann: User) -> None:
    """Many people behind one address, and one person many times; on a Unix socket, anybody."""
    for _ in range(2 * OF_PEER.at_once):
        await stand.sign_in()
        await stand.sign_in(peer="unix")


async def test_attempts_at_the_same_time_count(stand: Stand, ann: User) -> None:
    """They are counted before they are verified."""
    results = await asyncio.gather(
        *(stand.sign_in("wrong", f"192.0.2.{number}:1") for number in range(50)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, SignInFailedError) for result in results) == OF_EMAIL.at_once
    assert sum(isinstance(result, TooManyAttemptsError) for result in results) == (
        50 - OF_EMAIL.at_once
    )


async def test_a_change_of_password_counts_as_an_attempt(stand: Stand, ann: User) -> None:
    """A stolen access token is no way to guess a password."""
    for number in range(OF_EMAIL.at_once):
        with pytest.raises(SignInFailedError):
            await stand.sessions.change_password(
                ann.id, None, "wrong", "another one", f"192.0.2.{number}:1"
            )
    with pytest.raises(TooManyAttemptsError):
        await stand.sign_in(peer="198.51.100.1:1")


async def test_only_so_many_wait_for_a_turn(stand: Stand, ann: User) -> None:
    """The memory, and the time that others wait, are bounded; who comes later is told."""
    go_on = asyncio.Event()

    async def verify(password: str, text: str | None) -> bool:
        await go_on.wait()
        return False

    stand.hasher.verify = verify  # type: ignore[method-assign]  # for this test alone
    waiting = [
        asyncio.create_task(stand.sessions.sign_in(f"u{n}@example.com", "wrong", "unix"))
        for n in range(WAITING_MAX)
    ]
    while stand.sessions._waiting < WAITING_MAX:
        await asyncio.sleep(0)
    with pytest.raises(TooManyAttemptsError):
        await stand.sign_in()
    go_on.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, SignInFailedError) for result in results)
    assert stand.sessions._waiting == 0
