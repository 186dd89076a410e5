"""Watching one user: its current state, then every revision as it happens."""

import asyncio
import enum
from collections.abc import AsyncGenerator, Awaitable, Callable

from userservice.users.errors import UserNotFoundError
from userservice.users.feed import ChangeFeed, Mailbox, Overflow, Topic
from userservice.users.model import Change, ChangeKind
from userservice.users.storage.repository import KEPT_REVISIONS, UserRepository

BEHIND_MAX = KEPT_REVISIONS - 1
"""A reader that is more revisions behind than this gets only the latest."""

_LATE_S = 0.1
"""How long to wait for a revision before one that was heard; then it is read."""


class Gap(enum.Enum):
    """Stands in the place of revisions that were lost on their way to a watcher."""

    GAP = enum.auto()


def user_topic(user_id: str) -> Topic[Change | Gap]:
    """Return the topic of one user's revisions."""
    return Topic(f"users/{user_id}")


async def watch(
    repository: UserRepository,
    feed: ChangeFeed,
    user_id: str,
    after: int | None,
    listening: Callable[[], Awaitable[None]],
) -> AsyncGenerator[Change, None]:
    """Yield the current state of a user, or the revisions after one, then each new one.

    The revision that deletes the user is never dropped, and ends the stream.

    Args:
        repository: where the user is kept.
        feed: where its revisions are published.
        user_id: the user.
        after: the revision after which to go on; None to start with the current state.
        listening: called when no revision can be missed any more.

    Raises:
        UserNotFoundError: there is no such user.
    """
    # Listening comes before reading: what is committed in between arrives twice,
    # and is told apart by its revision.
    with feed.listen(
        user_topic(user_id), limit=BEHIND_MAX, overflow=Overflow.KEEP_LATEST, lost=Gap.GAP
    ) as mailbox:
        missed = await _missed(repository, user_id, after)
        await listening()
        told = _Told(0 if after is None else after)
        while True:
            for change in missed:
                yield change
                if change.kind is ChangeKind.DELETED:
                    return
                told.seen = change.revision
            news = await _next(mailbox, _LATE_S if told.has_gap else None)
            if news is Gap.GAP or told.is_full:
                missed = await _after(repository, user_id, told.seen)
                told.forget()
            else:
                missed = told.in_order(news)


class _Told:
    """Puts the changes of one user in order.

    Two processes may commit in one order and publish in the other, and a process may
    die between the two. So a change that does not follow what was seen has to wait for
    those before it: a moment, and then they are read. They were committed before it.

    Args:
        seen: the last revision that the watcher has.
    """

    def __init__(self, seen: int) -> None:
        self.seen = seen
        self._early: dict[int, Change] = {}  # by the revision before each

    @property
    def has_gap(self) -> bool:
        """Whether a change waits for those before it."""
        return bool(self._early)

    @property
    def is_full(self) -> bool:
        """Whether no more may wait."""
        return len(self._early) >= BEHIND_MAX

    def in_order(self, change: Change) -> list[Change]:
        """Return what follows what was seen, now that this change is known."""
        if change.revision <= self.seen:
            return []
        assert change.previous is not None
        self._early[change.previous] = change
        following = []
        last = self.seen
        while (found := self._early.pop(last, None)) is not None:
            following.append(found)
            last = found.revision
        return following

    def forget(self) -> None:
        """Let go of what waits: it was read, together with what it waited for."""
        self._early.clear()


async def _next(mailbox: Mailbox[Change | Gap], late_s: float | None) -> Change | Gap:
    """Return what comes next; GAP where nothing comes in this time."""
    try:
        async with asyncio.timeout(late_s):
            return await anext(mailbox)
    except TimeoutError:
        return Gap.GAP


async def _after(repository: UserRepository, user_id: str, seen: int) -> list[Change]:
    revisions = await repository.revisions(user_id, seen)
    return revisions[-1:] if len(revisions) > BEHIND_MAX else revisions


async def _missed(repository: UserRepository, user_id: str, after: int | None) -> list[Change]:
    revisions = [] if after is None else await _after(repository, user_id, after)
    if revisions:
        return revisions
    current = await repository.current(user_id)
    if current is not None:
        return [current] if after is None else []
    # It may have been deleted between the two reads: that is a revision like others.
    deletion = [] if after is None else await repository.revisions(user_id, after)
    if not deletion:
        raise UserNotFoundError(user_id)
    return deletion[-1:]
