"""API tokens: who has one is its owner, until it expires or is revoked."""

import asyncio
import datetime
import hmac
from collections.abc import AsyncIterator, Callable

import pytest
from tests.rpc.peers import Stock
from tests.rpc.test_authentication import Callers, bearer, refusal
from tests.users.storage.test_keys import owner

from inventory._gen.inventory.v1 import GetStockRequest
from inventory.client import InventoryClient
from userservice.rpc.middleware.authentication import Authentication
from userservice.rpc.subject import SubjectKind
from userservice.rpc.testing import ChannelFor
from userservice.users import api_tokens
from userservice.users.api_tokens import USED_EVERY, ApiTokens, new_api_token
from userservice.users.errors import StorageUnavailableError
from userservice.users.storage.urls import Repository, open_repository

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.fixture
async def repository() -> AsyncIterator[Repository]:
    """An empty repository."""
    opened = open_repository("memory:", lambda _changes: None)
    yield opened
    await opened.close()


@pytest.fixture
def callers() -> Callers:
    """Who called, so far."""
    return Callers()


@pytest.fixture
async def client(repository: Repository, callers: Callers) -> AsyncIterator[InventoryClient]:
    """A client of a server that takes API tokens."""
    authentication = Authentication([ApiTokens(repository)], domain="inventory.v1")
    async with ChannelFor([Stock()], middleware=[authentication, callers]) as channel:
        yield InventoryClient(channel, timeout_s=5)


async def made(
    repository: Repository, user_id: str, expires_at: datetime.datetime | None = None
) -> tuple[str, str]:
    """Store a new token, and return its id and its text."""
    token, text = new_api_token(user_id, "ci", expires_at)
    assert await repository.add_api_token(token)
    return token.id, text


async def test_the_owner_calls(
    repository: Repository, client: InventoryClient, callers: Callers
) -> None:
    """By a program, which is known as such."""
    ann = await owner(repository)
    token_id, text = await made(repository, ann, NOW + DAY)
    await client.get_stock(GetStockRequest(), metadata=bearer(text))
    [subject] = callers.subjects
    assert subject is not None
    assert (subject.id, subject.kind) == (ann, SubjectKind.API_TOKEN)
    assert subject.claims == {"token_id": token_id, "token_name": "ci"}


async def test_a_token_that_is_none_is_refused(
    repository: Repository, client: InventoryClient
) -> None:
    """Whatever is wrong with it; one that was half guessed is like one that was made up."""
    ann = await owner(repository)
    _, text = await made(repository, ann)
    _, other = await made(repository, ann)
    wrong = [
        text[:-1] + ("A" if text[-1] != "A" else "B"),
        text[:21] + other[21:],
        f"ust_{'0' * 16}_{text[21:]}",
    ]
    messages = set()
    for token in wrong:
        reason, message = await refusal(client, bearer(token))
        assert reason == "INVALID_TOKEN"
        messages.add(message)
    assert messages == {"the API token is not known, or was revoked"}
    for malformed in (text[:-1], text + "A", text.upper(), text[:21], "ust_", "ust__"):
        assert (await refusal(client, bearer(malformed)))[0] == "INVALID_TOKEN"


async def test_it_expires_and_can_be_revoked(
    repository: Repository, client: InventoryClient
) -> None:
    """The next call is refused; and so it is when the owner is deleted."""
    ann = await owner(repository)
    _, expired = await made(repository, ann, NOW - DAY)
    assert await refusal(client, bearer(expired)) == (
        "TOKEN_EXPIRED",
        "the API token has expired",
    )
    token_id, text = await made(repository, ann)
    await client.get_stock(GetStockRequest(), metadata=bearer(text))
    await repository.revoke_api_token(token_id)
    assert (await refusal(client, bearer(text)))[0] == "INVALID_TOKEN"
    _, another = await made(repository, ann)
    await repository.delete(ann)
    assert (await refusal(client, bearer(another)))[0] == "INVALID_TOKEN"


async def test_the_last_use_is_noted_now_and_then(
    repository: Repository, client: InventoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for each call: that would be a write for each read."""
    ann = await owner(repository)
    token_id, text = await made(repository, ann)
    noted: list[datetime.datetime] = []
    note = repository.use_api_token

    async def counted(token_id: str, at: datetime.datetime) -> None:
        noted.append(at)
        await note(token_id, at)

    monkeypatch.setattr(repository, "use_api_token", counted)
    calls = [client.get_stock(GetStockRequest(), metadata=bearer(text)) for _ in range(20)]
    await asyncio.gather(*calls)
    assert len(noted) == 1
    kept = await repository.api_token(token_id)
    assert kept is not None
    assert kept.used_at == noted[0]
    later = noted[0] + USED_EVERY
    monkeypatch.setattr(api_tokens, "_now", lambda: later)
    await client.get_stock(GetStockRequest(), metadata=bearer(text))
    assert noted[1:] == [later]


async def test_a_database_that_cannot_be_written_to_is_read(
    repository: Repository, client: InventoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last use is worth no refusal."""
    _, text = await made(repository, await owner(repository))

    async def fails(token_id: str, at: datetime.datetime) -> None:
        raise StorageUnavailableError("read-only")

    monkeypatch.setattr(repository, "use_api_token", fails)
    await client.get_stock(GetStockRequest(), metadata=bearer(text))


async def test_secrets_are_compared_in_constant_time(
    repository: Repository, client: InventoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By construction: hashes of them, with what the standard library has for that."""
    compared: list[tuple[bytes, bytes]] = []
    compare: Callable[[bytes, bytes], bool] = hmac.compare_digest

    def counted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    _, text = await made(repository, await owner(repository))
    await refusal(client, bearer(text[:-2] + "AA"))
    [(kept, shown)] = compared
    assert len(kept) == len(shown) == 32
