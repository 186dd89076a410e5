"""The keys of the tokens of users: the newest signs, and an old one verifies for a while."""

import asyncio
import datetime
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.waiting import until

from userservice.rpc.jwt import UnknownJwtKeyError
from userservice.users import signing_keys
from userservice.users.errors import StorageUnavailableError
from userservice.users.signing_keys import LIFETIME_S, RETIRED_FOR, SigningKeys
from userservice.users.storage.keys import SigningKey
from userservice.users.storage.urls import Repository, open_repository


@pytest.fixture
async def repository(tmp_path: Path) -> AsyncIterator[Repository]:
    """An empty repository."""
    opened = open_repository(f"sqlite:///{tmp_path}/users.db", lambda _changes: None)
    yield opened
    await opened.close()


async def test_a_token_is_good_in_every_process(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share the database; also a key that one has made a moment ago."""
    monkeypatch.setattr(signing_keys, "_REREAD_AT_ONCE_S", 0)
    here, there = SigningKeys(repository), SigningKeys(repository)
    async with here.kept_fresh(), there.kept_fresh():
        token = here.issue("ann", session="7")
        claims = there.verifier.verify(token)
        assert (claims["sub"], claims["session"]) == ("ann", "7")
        assert claims["exp"] - claims["iat"] == LIFETIME_S
        await repository.rotate_signing_key(RETIRED_FOR)
        await here.read()
        newer = here.issue("ann")
        assert (await there.verifier.verify_fresh(newer))["sub"] == "ann"
        assert (await there.verifier.verify_fresh(token))["sub"] == "ann"


async def test_a_server_hears_of_a_rotation_within_a_second(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And signs with the new key from then on."""
    monkeypatch.setattr(signing_keys, "REREAD_S", 0.01)
    keys = SigningKeys(repository)
    async with keys.kept_fresh():
        before = keys.at_hand
        await repository.rotate_signing_key(RETIRED_FOR)
        await until(lambda: keys.at_hand is not before)
        assert keys.at_hand[1:] == before
        token = keys.issue("ann")
        await repository.rotate_signing_key(datetime.timedelta(0))
        await until(lambda: len(keys.at_hand) == 1)
        with pytest.raises(UnknownJwtKeyError):
            await keys.verifier.verify_fresh(token)


async def test_a_retired_key_is_good_as_long_as_its_tokens(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no longer."""
    [key] = await repository.signing_keys()
    newest = await repository.rotate_signing_key(RETIRED_FOR)
    now = datetime.datetime.now(datetime.UTC)
    second = datetime.timedelta(seconds=1)
    for ago, known in ((RETIRED_FOR - second, 2), (RETIRED_FOR + second, 1)):
        retired = SigningKey(key.generation, key.value, key.created_at, now - ago)

        async def read(retired: SigningKey = retired) -> list[SigningKey]:
            return [newest, retired]

        monkeypatch.setattr(repository, "signing_keys", read)
        keys = SigningKeys(repository)
        await keys.read()
        assert len(keys.at_hand) == known


async def test_made_up_names_of_keys_do_not_flood_the_database(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read anew ten times a second at most; a database that fails is asked again."""
    monkeypatch.setattr(signing_keys, "REREAD_S", 0.01)
    keys = SigningKeys(repository)
    other = SigningKeys(repository)
    await other.read()
    reads = 0

    async def read() -> list[SigningKey]:
        nonlocal reads
        reads += 1
        if reads > 1:
            raise StorageUnavailableError("gone")
        return [SigningKey(1, bytes(32), datetime.datetime.now(datetime.UTC), None)]

    monkeypatch.setattr(repository, "signing_keys", read)
    await keys.read()
    made_up = [keys.verifier.verify_fresh(other.issue("ann")) for _ in range(100)]
    outcomes = await asyncio.gather(*made_up, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StorageUnavailableError}
    assert reads == 2
    reads = 0
    keys = SigningKeys(repository)
    async with keys.kept_fresh():
        await until(lambda: reads >= 3)


async def test_a_database_that_does_not_answer_at_first_is_told(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to sign with."""

    async def fails() -> list[SigningKey]:
        raise StorageUnavailableError("gone")

    monkeypatch.setattr(repository, "signing_keys", fails)
    with pytest.raises(StorageUnavailableError):
        async with SigningKeys(repository).kept_fresh():
            pass
