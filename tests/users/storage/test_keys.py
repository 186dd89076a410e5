"""The contract of what keeps tokens and keys: one suite, for every database."""

import asyncio
import datetime
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from userservice.users.api_tokens import new_api_token
from userservice.users.errors import StorageUnusableError
from userservice.users.model import NewUser, Role
from userservice.users.storage.keys import ApiToken
from userservice.users.storage.urls import Repository, open_repository

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


def ignore(_changes: object) -> None:
    """Nobody listens."""


@pytest.fixture(params=["sqlite", "memory"])
async def repository(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Repository]:
    """A new, empty repository of each kind."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/users.db"
    opened = open_repository(url, ignore)
    yield opened
    await opened.close()


async def owner(repository: Repository, email: str = "ann@example.com") -> str:
    """Create a user, and return the id."""
    [user] = await repository.create([NewUser(email, "Ann", Role.USER)])
    assert user is not None
    return user.id


async def added(
    repository: Repository,
    user_id: str,
    name: str = "ci",
    expires_at: datetime.datetime | None = None,
) -> ApiToken:
    """Store a new token."""
    token, _ = new_api_token(user_id, name, expires_at)
    assert await repository.add_api_token(token)
    return token


async def test_a_token_is_kept(repository: Repository) -> None:
    """With all that is known of it; what is not there is None, or False."""
    ann = await owner(repository)
    for_ever, for_a_day = await added(repository, ann), await added(repository, ann, "x", NOW + DAY)
    assert await repository.api_token(for_ever.id) == for_ever
    assert await repository.api_token(for_a_day.id) == for_a_day
    assert await repository.api_token("0" * 16) is None
    assert await repository.revoke_api_token("0" * 16) is False
    await repository.use_api_token("0" * 16, NOW)


async def test_a_token_has_an_owner(repository: Repository) -> None:
    """Who is there; and goes with its owner."""
    token, _ = new_api_token("nobody", "ci", None)
    assert await repository.add_api_token(token) is False
    ann = await owner(repository)
    kept = await added(repository, ann)
    await repository.delete(ann)
    assert await repository.api_token(kept.id) is None
    assert await repository.api_tokens() == []
    assert await repository.revoke_api_token(kept.id) is False


async def test_tokens_are_listed_by_age(repository: Repository) -> None:
    """Those of one owner, or all."""
    ann, bob = await owner(repository), await owner(repository, "bob@example.com")
    tokens = [await added(repository, user_id) for user_id in (ann, bob, ann)]
    assert await repository.api_tokens() == sorted(tokens, key=lambda t: (t.created_at, t.id))
    assert {token.id for token in await repository.api_tokens(ann)} == {tokens[0].id, tokens[2].id}
    assert await repository.api_tokens("nobody") == []


async def test_the_last_use_is_noted(repository: Repository) -> None:
    """And nothing else changes by it."""
    token = await added(repository, await owner(repository))
    await repository.use_api_token(token.id, NOW)
    assert await repository.api_token(token.id) == replace(token, used_at=NOW)


async def test_a_revoked_token_is_gone(repository: Repository) -> None:
    """At once."""
    token = await added(repository, await owner(repository))
    assert await repository.revoke_api_token(token.id) is True
    assert await repository.api_token(token.id) is None
    assert await repository.revoke_api_token(token.id) is False


async def test_the_first_key_is_made_once(repository: Repository) -> None:
    """Also when several ask for it at the same time."""
    answers = await asyncio.gather(*(repository.signing_keys() for _ in range(10)))
    assert all(keys == answers[0] for keys in answers)
    [key] = answers[0]
    assert len(key.value) == 32
    assert key.retired_at is None


async def test_a_key_is_rotated(repository: Repository) -> None:
    """The new one is first, the old one retired; those retired long ago can be forgotten."""
    [first] = await repository.signing_keys()
    second = await repository.rotate_signing_key(DAY)
    assert second.value != first.value
    keys = await repository.signing_keys()
    assert [key.generation for key in keys] == [second.generation, first.generation]
    assert keys[0] == second
    assert keys[1].retired_at is not None
    third = await repository.rotate_signing_key(0 * DAY)
    assert await repository.signing_keys() == [third]
    assert third.generation > second.generation


async def test_a_database_before_its_first_key_can_be_rotated(repository: Repository) -> None:
    """Then there is one."""
    key = await repository.rotate_signing_key(DAY)
    assert await repository.signing_keys() == [key]


async def test_a_file_never_has_the_secret(tmp_path: Path) -> None:
    """Of a token; not anywhere in it."""
    path = tmp_path / "users.db"
    repository = open_repository(f"sqlite:///{path}", ignore)
    token, text = new_api_token(await owner(repository), "ci", None)
    await repository.add_api_token(token)
    await repository.close()
    with closing(sqlite3.connect(path)) as database:
        dump = "\n".join(database.iterdump())
    secret = text.split("_", 2)[2]
    assert token.id in dump
    assert secret not in dump
    assert secret.encode() not in path.read_bytes()


async def test_a_command_need_not_make_a_database(tmp_path: Path) -> None:
    """A mistyped name is no new file."""
    path = tmp_path / "users.db"
    with pytest.raises(StorageUnusableError, match="there is no file"):
        open_repository(f"sqlite:///{path}", ignore, new=False)
    assert not path.exists()
    with pytest.raises(StorageUnusableError, match="in memory"):
        open_repository("memory:", ignore, new=False)
    await open_repository(f"sqlite:///{path}", ignore).close()
    await open_repository(f"sqlite:///{path}", ignore, new=False).close()


def test_what_is_secret_is_not_shown() -> None:
    """Neither half of it."""
    token, text = new_api_token("ann", "ci", None)
    assert text not in repr(token)
    assert repr(token.hash) not in repr(token)
