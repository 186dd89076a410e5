"""Watching a user: nothing missed, nothing twice, and slow watchers skip to the latest."""

import asyncio
import random
import uuid
from collections.abc import AsyncGenerator

import pytest

from userservice.users.errors import UserNotFoundError
from userservice.users.feed import LocalFeed
from userservice.users.model import Change, ChangeKind, User, UserUpdate
from userservice.users.storage.repository import UserRepository
from userservice.users.watch import BEHIND_MAX, user_topic, watch


async def nothing() -> None:
    """Nobody waits for the watch to begin."""


class Watching:
    """Makes watches on one repository and feed."""

    def __init__(self, repository: UserRepository, feed: LocalFeed) -> None:
        self.repository = repository
        self.feed = feed

    def __call__(self, user_id: str, after: int | None = None) -> AsyncGenerator[Change, None]:
        return watch(self.repository, self.feed, user_id, after, nothing)

    async def rename(self, user: User, *names: str) -> None:
        for name in names:
            await self.repository.update(user.id, UserUpdate(name=name))


@pytest.fixture
def watching(repository: UserRepository, feed: LocalFeed) -> Watching:
    """Makes watches."""
    return Watching(repository, feed)


async def test_a_watch_starts_with_the_current_state(watching: Watching, ann: User) -> None:
    """The first event is the user as it is, with the revision that made it so."""
    await watching.rename(ann, "Lee")
    events = watching(ann.id)
    first = await anext(events)
    assert (first.kind, first.user.name) == (ChangeKind.UPDATED, "Lee")
    assert first == await watching.repository.current(ann.id)
    await events.aclose()


async def test_every_revision_follows_in_order_and_deletion_ends_it(
    watching: Watching, ann: User
) -> None:
    """Each change is an event; the last is DELETED, with the user as it was."""
    events = watching(ann.id)
    await anext(events)
    await watching.rename(ann, "A", "B", "C")
    await watching.repository.delete(ann.id)
    rest = [event async for event in events]
    assert [(event.kind.name, event.user.name) for event in rest] == [
        ("UPDATED", "A"),
        ("UPDATED", "B"),
        ("UPDATED", "C"),
        ("DELETED", "C"),
    ]
    assert watching.feed._mailboxes == {}


async def test_there_is_nothing_to_watch_without_a_user(watching: Watching, ann: User) -> None:
    """A user that never was, or is gone, is not found."""
    with pytest.raises(UserNotFoundError):
        await anext(watching(str(uuid.uuid4())))
    await watching.repository.delete(ann.id)
    with pytest.raises(UserNotFoundError):
        await anext(watching(ann.id))
    assert watching.feed._mailboxes == {}


async def test_a_watch_resumes_after_a_revision(watching: Watching, ann: User) -> None:
    """What happened in between comes first, once, and then what happens now."""
    first = await anext(watching(ann.id))
    await watching.rename(ann, "A", "B")
    events = watching(ann.id, after=first.revision)
    assert [(await anext(events)).user.name for _ in range(2)] == ["A", "B"]
    await watching.rename(ann, "C")
    assert (await anext(events)).user.name == "C"
    await events.aclose()


async def test_a_watch_resumed_up_to_date_waits_for_the_next_change(
    watching: Watching, ann: User
) -> None:
    """Nothing is sent twice: there is no event until something happens."""
    first = await anext(watching(ann.id))
    events = watching(ann.id, after=first.revision)
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    assert not waiting.done()
    await watching.rename(ann, "A")
    assert (await waiting).user.name == "A"
    await events.aclose()


async def test_a_deletion_is_seen_on_resuming(watching: Watching, ann: User) -> None:
    """A watcher that was away learns that the user is gone; once it knows, there is none."""
    first = await anext(watching(ann.id))
    await watching.repository.delete(ann.id)
    events = [event async for event in watching(ann.id, after=first.revision)]
    assert [event.kind for event in events] == [ChangeKind.DELETED]
    with pytest.raises(UserNotFoundError):
        await anext(watching(ann.id, after=events[0].revision))


async def test_a_deletion_while_a_watch_resumes_is_seen(
    watching: Watching, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it comes between the two reads of the resuming watch."""
    first = await anext(watching(ann.id))
    revisions = watching.repository.revisions

    async def revisions_then_deletion(user_id: str, after: int) -> list[Change]:
        found = await revisions(user_id, after)
        await watching.repository.delete(ann.id)
        return found

    monkeypatch.setattr(watching.repository, "revisions", revisions_then_deletion)
    events = [event async for event in watching(ann.id, after=first.revision)]
    assert [event.kind for event in events] == [ChangeKind.DELETED]


@pytest.mark.parametrize("behind", [BEHIND_MAX, BEHIND_MAX + 1])
async def test_a_slow_watcher_gets_only_the_latest(
    watching: Watching, ann: User, behind: int
) -> None:
    """Up to 64 revisions wait; whoever is further behind gets the newest alone."""
    events = watching(ann.id)
    await anext(events)
    await watching.rename(ann, *(f"N{number}" for number in range(behind)))
    expected = behind if behind <= BEHIND_MAX else 1
    names = [(await anext(events)).user.name for _ in range(expected)]
    assert names == [f"N{number}" for number in range(behind)][-expected:]
    await watching.repository.delete(ann.id)
    assert [event.kind for event in [event async for event in events]] == [ChangeKind.DELETED]


@pytest.mark.parametrize("behind", [BEHIND_MAX, BEHIND_MAX + 1, 3 * BEHIND_MAX])
async def test_a_watcher_long_away_gets_only_the_latest(
    watching: Watching, ann: User, behind: int
) -> None:
    """The same holds for what happened before a watch resumed."""
    first = await anext(watching(ann.id))
    await watching.rename(ann, *(f"N{number}" for number in range(behind)))
    events = watching(ann.id, after=first.revision)
    expected = behind if behind <= BEHIND_MAX else 1
    names = [(await anext(events)).user.name for _ in range(expected)]
    assert names == [f"N{number}" for number in range(behind)][-expected:]
    await events.aclose()


async def test_a_deletion_is_never_dropped(watching: Watching, ann: User) -> None:
    """However far behind a watcher is, it learns of the deletion, and ends."""
    events = watching(ann.id)
    await anext(events)
    await watching.rename(ann, *(f"N{number}" for number in range(2 * BEHIND_MAX)))
    await watching.repository.delete(ann.id)
    kinds = [event.kind async for event in events]
    assert kinds[-1] is ChangeKind.DELETED
    assert len(kinds) <= BEHIND_MAX


async def test_a_change_while_the_watch_begins_is_neither_missed_nor_repeated(
    watching: Watching, ann: User
) -> None:
    """Listening and reading overlap; the revisions tell what was seen."""
    events = [watching(ann.id) for _ in range(20)]
    firsts = asyncio.gather(*(anext(event) for event in events))
    await watching.rename(ann, "A", "B")
    await watching.repository.delete(ann.id)
    for first, rest in zip(await firsts, events, strict=True):
        revisions = [first.revision, *[event.revision async for event in rest]]
        assert revisions == list(range(first.revision, first.revision + len(revisions)))
        assert revisions[-1] == 4


async def test_a_thousand_watchers_cost_no_read_a_change(
    watching: Watching, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change is read at most once for all of them: here it is known from its write."""
    events = [watching(ann.id) for _ in range(1000)]
    await asyncio.gather(*(anext(event) for event in events))
    reads: list[str] = []
    for name in ("get", "current", "revisions", "page"):
        monkeypatch.setattr(watching.repository, name, lambda *_, name=name: reads.append(name))
    await watching.rename(ann, "A")
    changes = await asyncio.gather(*(anext(event) for event in events))
    assert {change.user.name for change in changes} == {"A"}
    assert reads == []
    for event in events:
        await event.aclose()


class Shuffled:
    """Revisions that are committed in order, and told as the test says."""

    def __init__(self, repository: UserRepository, feed: LocalFeed) -> None:
        self.repository = repository
        self.feed = feed
        self.untold: list[Change] = []
        self.reads = 0
        repository._committed = self.untold.extend  # type: ignore[attr-defined]  # the test tells
        revisions = repository.revisions

        async def counted(user_id: str, after: int) -> list[Change]:
            self.reads += 1
            return await revisions(user_id, after)

        repository.revisions = counted  # type: ignore[method-assign]  # to count them

    def tell(self, number: int) -> None:
        change = self.untold.pop(number)
        self.feed.publish(user_topic(change.user.id), change)


@pytest.fixture
def shuffled(repository: UserRepository, feed: LocalFeed) -> Shuffled:
    """Revisions that the test tells."""
    return Shuffled(repository, feed)


async def test_revisions_that_are_told_out_of_order_come_in_order(
    watching: Watching, ann: User, shuffled: Shuffled
) -> None:
    """As from two processes: whoever is early waits for the others, and nothing is read."""
    events = watching(ann.id)
    await anext(events)
    await watching.rename(ann, "A", "B", "C", "D")
    for number in (2, 2, 0, 0):  # C, D, A, B
        shuffled.tell(number)
    assert [(await anext(events)).user.name for _ in range(4)] == ["A", "B", "C", "D"]
    assert shuffled.reads == 0
    await events.aclose()


async def test_a_revision_that_is_not_told_is_read(
    watching: Watching, ann: User, shuffled: Shuffled
) -> None:
    """After a moment, once; and what is told late is not repeated."""
    events = watching(ann.id)
    await anext(events)
    await watching.rename(ann, "A", "B", "C", "D")
    shuffled.tell(2)  # C
    assert [(await anext(events)).user.name for _ in range(4)] == ["A", "B", "C", "D"]
    assert shuffled.reads == 1
    for _ in range(3):  # A, B, D
        shuffled.tell(0)
    await watching.rename(ann, "E")
    shuffled.tell(0)
    assert (await anext(events)).user.name == "E"
    assert shuffled.reads == 1
    await events.aclose()


async def test_a_deletion_that_was_never_told_is_found(
    watching: Watching, ann: User, shuffled: Shuffled
) -> None:
    """A process died between the commit and telling of it: the others learn that it died."""
    events = watching(ann.id)
    await anext(events)
    await watching.repository.delete(ann.id)
    rest = asyncio.ensure_future(_all(events))
    watching.feed.lose()
    assert [event.kind for event in await rest] == [ChangeKind.DELETED]


async def test_a_deletion_survives_late_news_in_a_full_mailbox(
    watching: Watching, ann: User, shuffled: Shuffled
) -> None:
    """What empties a mailbox may be older than the deletion that was in it."""
    events = watching(ann.id)
    await anext(events)
    await watching.rename(ann, *(f"N{number}" for number in range(BEHIND_MAX)))
    await watching.repository.delete(ann.id)
    late = shuffled.untold.pop(0)
    while shuffled.untold:
        shuffled.tell(0)
    watching.feed.publish(user_topic(ann.id), late)
    assert [event.kind for event in await _all(events)][-1] is ChangeKind.DELETED


@pytest.mark.parametrize("seed", range(20))
async def test_each_revision_comes_once_and_in_order_whatever_is_told(
    watching: Watching, ann: User, shuffled: Shuffled, seed: int
) -> None:
    """Told in any order, some told twice, some never with a sign of loss instead."""
    chance = random.Random(seed)
    events = watching(ann.id)
    first = await anext(events)
    heard = asyncio.ensure_future(_all(events))
    for number in range(50):
        if number == 49:
            await watching.repository.delete(ann.id)
        else:
            await watching.rename(ann, f"N{number}")
        while shuffled.untold and chance.random() < 0.6:
            position = chance.randrange(len(shuffled.untold))
            match chance.randrange(8):
                case 0:
                    shuffled.untold.insert(0, shuffled.untold[position])
                case 1:
                    shuffled.untold.pop(position)
                    watching.feed.lose()
                case _:
                    shuffled.tell(position)
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    while shuffled.untold:
        shuffled.tell(chance.randrange(len(shuffled.untold)))
    revisions = [first.revision, *[event.revision for event in await heard]]
    assert revisions == list(range(first.revision, first.revision + 51))


async def _all(events: AsyncGenerator[Change, None]) -> list[Change]:
    return [event async for event in events]
