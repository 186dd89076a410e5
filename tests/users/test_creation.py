"""Creating users: one, and any number of them."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Iterator

import pytest
from structlog.testing import capture_logs

from userservice.users.creation import Creation, Draft
from userservice.users.errors import EmailTakenError, InvalidRequestError
from userservice.users.model import Role
from userservice.users.order import parse_order
from userservice.users.passwords import PasswordHasher
from userservice.users.storage.repository import PageQuery, UserRepository


@pytest.fixture
def creation(repository: UserRepository) -> Iterator[Creation]:
    """Creates users in the repository."""
    hasher = PasswordHasher()
    yield Creation(repository, hasher)
    hasher.close()


def draft(email: str, name: str = "Ann", password: str = "") -> Draft:
    """A user as asked for."""
    return Draft(email, name, 0, password)


async def stream(drafts: Iterable[Draft]) -> AsyncIterator[Draft]:
    """The drafts as a client streams them."""
    for each in drafts:
        yield each


async def count(repository: UserRepository) -> int | None:
    """How many users are stored."""
    return (await repository.page(PageQuery(None, parse_order(""), 1))).total


async def test_a_user_is_created_by_the_rules(creation: Creation) -> None:
    """The name is trimmed, the role has its default, and the email stays as given."""
    user = await creation.create(Draft("Ann@Example.com", " Ann ", 0, "longenough"))
    assert (user.email, user.name, user.role) == ("Ann@Example.com", "Ann", Role.USER)


async def test_a_bad_draft_stores_nothing(creation: Creation, repository: UserRepository) -> None:
    """Every violation is told, the password is not, and there is no user."""
    with pytest.raises(InvalidRequestError) as invalid:
        await creation.create(Draft("ann", "", 9, "hunter2"))
    assert [v.field for v in invalid.value.violations] == ["email", "name", "password", "role"]
    assert "hunter2" not in str(invalid.value)
    assert await count(repository) == 0


async def test_a_taken_email_is_refused(creation: Creation) -> None:
    """Case makes no difference."""
    await creation.create(draft("ann@example.com"))
    with pytest.raises(EmailTakenError):
        await creation.create(draft("ANN@example.com"))


async def test_a_password_is_in_no_repr() -> None:
    """Whoever logs a draft logs no password."""
    assert "hunter2" not in repr(draft("a@b.co", password="hunter2"))


async def test_a_batch_stores_the_good_and_names_the_bad(
    creation: Creation, repository: UserRepository
) -> None:
    """A refused item does not stop the others; one email twice is refused once."""
    drafts = [draft(f"user{number}@example.com") for number in range(250)]
    drafts[50] = draft("user50@example.com", name="")
    drafts[120] = draft("USER3@example.com")
    drafts[249] = draft("user240@example.com")
    result = await creation.create_all(stream(drafts))
    assert (result.created_count, result.failed_count) == (247, 3)
    assert result.failed_emails == [
        "user50@example.com",
        "USER3@example.com",
        "user240@example.com",
    ]
    assert await count(repository) == 247


async def test_failed_emails_are_in_the_order_of_the_items(creation: Creation) -> None:
    """Whatever each was refused for."""
    drafts = [draft("a@b.co"), draft("A@b.co"), draft("bad"), draft("a@B.co"), draft("worse")]
    result = await creation.create_all(stream(drafts))
    assert result.failed_emails == ["A@b.co", "bad", "a@B.co", "worse"]


async def test_huge_items_are_not_kept(creation: Creation) -> None:
    """A hundred items of a megabyte each need no hundred megabytes."""
    tracemalloc.start()
    await creation.create_all(stream(draft("x" * 1_000_000) for _ in range(99)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


async def test_an_empty_batch_creates_nobody(creation: Creation) -> None:
    """No item, no user, no error."""
    result = await creation.create_all(stream([]))
    assert (result.created_count, result.failed_count, result.failed_emails) == (0, 0, [])


async def test_failed_emails_are_bounded(creation: Creation) -> None:
    """The first 1,000 are named, each cut to 254 characters; all are counted."""
    result = await creation.create_all(stream(draft("x" * 5000) for _ in range(1500)))
    assert (result.created_count, result.failed_count) == (0, 1500)
    assert len(result.failed_emails) == 1000
    assert {len(email) for email in result.failed_emails} == {254}


async def test_a_batch_needs_constant_memory(creation: Creation) -> None:
    """Five thousand items take no more memory than a few groups of them."""
    await creation.create_all(stream(draft(f"warm{n}@example.com") for n in range(500)))
    tracemalloc.start()
    await creation.create_all(
        stream(draft(f"user{n}@example.com", name="x" * 200) for n in range(5_000))
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000


async def test_what_was_stored_when_the_client_breaks_off_stays_and_is_counted(
    creation: Creation, repository: UserRepository
) -> None:
    """The groups written are there, the log has their count, and nothing more is written."""
    more = asyncio.Event()
    taken = asyncio.Event()

    async def endless() -> AsyncIterator[Draft]:
        for number in range(250):
            yield draft(f"user{number}@example.com")
        taken.set()
        await more.wait()

    with capture_logs() as logs:
        batch = asyncio.create_task(creation.create_all(endless()))
        await taken.wait()
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
    assert await count(repository) == 200
    assert {"event": "batch broken off", "created_count": 200, "log_level": "info"} in logs


async def test_a_write_under_way_when_the_client_breaks_off_is_counted(
    creation: Creation, repository: UserRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count is what is really stored, also for the group that was being written."""
    writing = asyncio.Event()
    create = repository.create

    async def slow_create(users: object) -> object:
        writing.set()
        await asyncio.sleep(0.01)
        return await create(users)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(repository, "create", slow_create)
    with capture_logs() as logs:
        batch = asyncio.create_task(
            creation.create_all(stream(draft(f"user{n}@example.com") for n in range(100)))
        )
        await writing.wait()
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
    assert await count(repository) == 100
    assert logs[-1]["created_count"] == 100
