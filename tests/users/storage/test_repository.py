"""The contract of a repository: one suite, for every database."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from userservice.users.errors import StorageUnavailableError
from userservice.users.filter import parse_filter
from userservice.users.model import Change, ChangeKind, NewUser, Role, User, UserUpdate
from userservice.users.order import parse_order
from userservice.users.storage.repository import KEPT_REVISIONS, PageQuery, UserRepository
from userservice.users.storage.urls import open_repository

NOBODY = str(uuid.uuid4())


class Committed(list[Change]):
    """Collects what a repository tells of its commits."""

    def __call__(self, changes: Sequence[Change]) -> None:
        self.extend(changes)


@pytest.fixture
def committed() -> Committed:
    """What was committed."""
    return Committed()


@pytest.fixture(params=["sqlite", "memory"])
async def repository(
    request: pytest.FixtureRequest, tmp_path: Path, committed: Committed
) -> AsyncIterator[UserRepository]:
    """A new, empty repository of each kind."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/users.db"
    opened = open_repository(url, committed)
    yield opened
    await opened.close()


def new(email: str, name: str = "Ann", role: Role = Role.USER) -> NewUser:
    """A user to be created."""
    return NewUser(email, name, role)


async def created(repository: UserRepository, *emails: str) -> list[User]:
    """Create users with these emails."""
    users = await repository.create([new(email) for email in emails])
    return [user for user in users if user is not None]


async def listed(
    repository: UserRepository, filter_text: str = "", order: str = "", size: int = 100
) -> list[User]:
    """List users, as many as fit a page."""
    query = PageQuery(parse_filter(filter_text), parse_order(order), size)
    return list((await repository.page(query)).users)


async def test_a_created_user_can_be_read(repository: UserRepository) -> None:
    """What is stored is what is returned, with a UUID and equal times."""
    [ann] = await repository.create([new("Ann@example.com", "Ann \U0001f600", Role.ADMIN)])
    assert ann is not None
    assert str(uuid.UUID(ann.id)) == ann.id
    assert (ann.email, ann.name, ann.avatar, ann.role) == (
        "Ann@example.com",
        "Ann \U0001f600",
        "",
        Role.ADMIN,
    )
    assert ann.created_at == ann.updated_at
    assert await repository.get(ann.id) == ann


async def test_an_email_is_unique_without_regard_to_case(repository: UserRepository) -> None:
    """A taken email is refused, also within one group, and the others are stored."""
    await created(repository, "ann@example.com")
    outcome = await repository.create(
        [new("ANN@example.com"), new("bob@example.com"), new("Bob@Example.com"), new("c@d.co")]
    )
    assert [user and user.email for user in outcome] == [None, "bob@example.com", None, "c@d.co"]


async def test_a_deleted_email_is_free_again(repository: UserRepository) -> None:
    """Deleting a user frees the email; the new user is another one."""
    [first] = await created(repository, "ann@example.com")
    assert await repository.delete(first.id)
    [second] = await created(repository, "ann@example.com")
    assert second.id != first.id
    assert await repository.get(first.id) is None


async def test_nobody_is_read_changed_or_deleted(repository: UserRepository) -> None:
    """What is not there is None, or False."""
    assert await repository.get(NOBODY) is None
    assert await repository.current(NOBODY) is None
    assert await repository.update(NOBODY, UserUpdate(name="x")) is None
    assert await repository.delete(NOBODY) is False
    assert await repository.revisions(NOBODY, 0) == []


async def test_an_update_changes_what_it_names(repository: UserRepository) -> None:
    """None leaves a field as it is, an empty avatar clears it, and the time moves on."""
    [ann] = await created(repository, "ann@example.com")
    first = await repository.update(ann.id, UserUpdate(avatar="https://example.com/a"))
    second = await repository.update(ann.id, UserUpdate(name="Lee", role=Role.MODERATOR))
    third = await repository.update(ann.id, UserUpdate(avatar=""))
    assert first is not None
    assert second is not None
    assert third is not None
    assert (first.name, first.avatar, first.role) == ("Ann", "https://example.com/a", Role.USER)
    assert (second.name, second.avatar, second.role) == (
        "Lee",
        "https://example.com/a",
        Role.MODERATOR,
    )
    assert third.avatar == ""
    assert ann.created_at == third.created_at
    assert ann.updated_at <= first.updated_at <= second.updated_at <= third.updated_at
    assert await repository.get(ann.id) == third


async def test_each_change_is_a_revision(repository: UserRepository, committed: Committed) -> None:
    """Every change has the next revision, is told once it is committed, and can be read later."""
    [ann] = await created(repository, "ann@example.com")
    changed = await repository.update(ann.id, UserUpdate(name="Lee"))
    await repository.update(ann.id, UserUpdate(name="Lee"))  # changes nothing
    current = await repository.current(ann.id)
    await repository.delete(ann.id)
    assert [(change.kind, change.user) for change in committed] == [
        (ChangeKind.UPDATED, ann),
        (ChangeKind.UPDATED, changed),
        (ChangeKind.DELETED, changed),
    ]
    assert current == committed[1]
    revisions = [change.revision for change in committed]
    assert revisions == sorted(set(revisions))
    assert await repository.revisions(ann.id, 0) == committed
    assert await repository.revisions(ann.id, revisions[0]) == committed[1:]
    assert await repository.revisions(ann.id, revisions[2]) == []


async def test_only_the_latest_revisions_are_kept(
    repository: UserRepository, committed: Committed
) -> None:
    """Of each user, one revision more than a watcher may be behind is kept."""
    ann, bob = await created(repository, "ann@example.com", "bob@example.com")
    for number in range(KEPT_REVISIONS + 5):
        await repository.update(ann.id, UserUpdate(name=f"Ann {number}"))
    of_ann = [change for change in committed if change.user.id == ann.id]
    assert await repository.revisions(ann.id, 0) == of_ann[-KEPT_REVISIONS:]
    assert len(await repository.revisions(bob.id, 0)) == 1


async def test_pages_follow_each_other(repository: UserRepository) -> None:
    """The pages of a list hold every user once, in order; the first one counts them."""
    await created(repository, *(f"user{number:02}@example.com" for number in range(25)))
    order = parse_order("email desc")
    emails: list[str] = []
    totals = []
    after: Sequence[str | int] | None = None
    while True:
        page = await repository.page(PageQuery(None, order, 10, after))
        emails += [user.email for user in page.users]
        totals.append(page.total)
        if page.next is None:
            break
        after = page.next
    assert emails == [f"user{number:02}@example.com" for number in reversed(range(25))]
    assert totals == [25, None, None]


async def test_a_page_that_ends_the_list_is_the_last(repository: UserRepository) -> None:
    """A full page with nothing after it has no next."""
    await created(repository, "a@b.co", "b@b.co")
    page = await repository.page(PageQuery(None, parse_order(""), 2))
    assert len(page.users) == 2
    assert page.next is None


@pytest.mark.parametrize("seed", range(5))
async def test_paging_while_others_write_repeats_and_skips_nobody(
    repository: UserRepository, seed: int
) -> None:
    """A user that does not change is on exactly one page, whatever happens to the others."""
    chance = random.Random(seed)
    emails = [f"user{number}@example.com" for number in range(60)]
    users = await created(repository, *emails)
    still = {user.id for user in users[:30]}
    others = users[30:]
    seen: list[str] = []
    query = PageQuery(None, parse_order("name, updated_at desc"), 7)
    while True:
        page = await repository.page(query)
        seen += [user.id for user in page.users]
        if page.next is None:
            break
        query = PageQuery(None, query.order, 7, page.next)
        for _ in range(5):
            other = chance.choice(others)
            if chance.random() < 0.3:
                await repository.delete(other.id)
            else:
                await repository.update(other.id, UserUpdate(name=f"N{chance.random()}"))
        await created(repository, f"new{chance.random()}@example.com")
    assert [user_id for user_id in seen if user_id in still] == sorted(
        still, key=[user_id for user_id in seen if user_id in still].index
    )
    assert {user_id for user_id in seen if user_id in still} == still
    assert all(seen.count(user_id) == 1 for user_id in still)


async def test_filters_reach_the_store(repository: UserRepository) -> None:
    """A filter selects by every field, emails without regard to case, and is counted."""
    [ann, bob] = await created(repository, "Ann@example.com", "bob@example.org")
    await repository.update(bob.id, UserUpdate(name="Bob", role=Role.ADMIN))
    assert [user.id for user in await listed(repository, "email=ANN@EXAMPLE.COM")] == [ann.id]
    assert [user.id for user in await listed(repository, "role=ADMIN")] == [bob.id]
    assert [user.id for user in await listed(repository, "name:b AND -email:*.com")] == [bob.id]
    assert [user.id for user in await listed(repository, f"id={ann.id}")] == [ann.id]
    assert len(await listed(repository, "created_at>2020-01-01T00:00:00Z")) == 2
    page = await repository.page(PageQuery(parse_filter("role=ADMIN"), parse_order(""), 10))
    assert page.total == 1


async def test_strings_sort_by_code_point(repository: UserRepository) -> None:
    """Upper case before lower case, and what lies beyond the basic plane last."""
    names = ["b", "B", "a", "A", "é", "z", "\uffff", "\U0001f600", "中"]
    await repository.create([new(f"u{i}@b.co", name) for i, name in enumerate(names)])
    assert [user.name for user in await listed(repository, order="name")] == sorted(names)


async def test_concurrent_writes_all_count(
    repository: UserRepository, committed: Committed
) -> None:
    """Writes that wait together are told in the order of their revisions, and none is lost."""
    users = await asyncio.gather(
        *(repository.create([new(f"user{number}@example.com")]) for number in range(300))
    )
    assert all(user is not None for [user] in users)
    assert len(await listed(repository, size=1000)) == 300
    assert [change.revision for change in committed] == list(range(1, 301))


async def test_one_of_many_takes_the_email(repository: UserRepository) -> None:
    """Of concurrent writes with one email, exactly one is stored."""
    users = await asyncio.gather(*(repository.create([new("ann@example.com")]) for _ in range(50)))
    assert sum(user is not None for [user] in users) == 1


async def test_a_cancelled_caller_leaves_no_half_write(
    repository: UserRepository, committed: Committed
) -> None:
    """A write whose caller goes away is done whole and told, or not at all."""
    writes = [
        asyncio.create_task(repository.create([new(f"user{number}@example.com")]))
        for number in range(50)
    ]
    await asyncio.sleep(0)
    for write in writes[::2]:
        write.cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    await repository.ping()
    stored = {user.id for user in await listed(repository, size=1000)}
    assert stored == {change.user.id for change in committed}
    assert len(stored) >= 25


async def test_a_secret_stays_the_same(repository: UserRepository) -> None:
    """A secret is 32 bytes, the same whenever asked for, and another for each name."""
    one = await repository.secret("one")
    assert len(one) == 32
    assert await repository.secret("one") == one
    assert await repository.secret("two") != one


async def test_a_closed_repository_answers_with_an_error(tmp_path: Path) -> None:
    """Nobody waits for ever on a database that is closed."""
    closed = open_repository(f"sqlite:///{tmp_path}/users.db", Committed())
    await closed.close()
    for call in (closed.ping(), closed.get(NOBODY), closed.create([new("a@b.co")])):
        with pytest.raises(StorageUnavailableError):
            await call
