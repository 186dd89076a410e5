"""Watching one user: its current state, then every revision as it happens."""

import enum
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from userservice.users.errors import UserNotFoundError
from userservice.users.feed import ChangeFeed, Overflow, Topic
from userservice.users.model import Change, ChangeKind
from userservice.users.storage.repository import KEPT_REVISIONS, UserRepository

BEHIND_MAX = KEPT_REVISIONS - 1
"""A reader that is more revisions behind than this gets only the latest."""


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
        seen = 0 if after is None else after
        missed = await _missed(repository, user_id, after)
        await listening()
        for change in missed:
            yield change
            if change.kind is ChangeKind.DELETED:
                return
            seen = change.revision
        async for news in mailbox:
            for change in await _following(repository, user_id, seen, news):
                yield change
                if change.kind is ChangeKind.DELETED:
                    return
                seen = change.revision


async def _following(
    repository: UserRepository, user_id: str, seen: int, news: Change | Gap
) -> Sequence[Change]:
    """Return the revisions that follow what was seen, now that there is news.

    Two processes may commit in one order and publish in the other, and a process may
    die between the two. So a change that does not follow what was seen is no more than
    a sign to read: what is before it was committed before it.
    """
    if isinstance(news, Change):
        if news.revision <= seen:
            return []
        if news.previous is not None and news.previous <= seen:
            return [news]
    revisions = await repository.revisions(user_id, seen)
    return revisions[-1:] if len(revisions) > BEHIND_MAX else revisions


async def _missed(repository: UserRepository, user_id: str, after: int | None) -> list[Change]:
    revisions = [] if after is None else await repository.revisions(user_id, after)
    if len(revisions) > BEHIND_MAX:
        return revisions[-1:]
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
