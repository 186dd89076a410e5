"""Creating users: one, or any number of them in groups and constant memory."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

import structlog

from userservice.users import rules
from userservice.users.errors import EmailTakenError, InvalidRequestError
from userservice.users.model import NewUser, User
from userservice.users.passwords import PasswordHasher
from userservice.users.storage.repository import UserRepository

_GROUP = 100  # users in one write: about a millisecond of the writer thread
_FAILED_MAX = 1_000

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Draft:
    """A user as asked for, not yet checked; the password stays out of its repr."""

    email: str
    name: str
    role: int
    password: str = field(repr=False)


@dataclass(slots=True)
class BatchResult:
    """What became of a batch.

    Args:
        created_count: how many users were stored.
        failed_emails: the emails of refused items: the first 1,000, each cut to 254
            characters.
        failed_count: how many items were refused in all.
    """

    created_count: int = 0
    failed_emails: list[str] = field(default_factory=list)
    failed_count: int = 0

    def refuse(self, email: str) -> None:
        """Count a refused item; its email is cut already."""
        self.failed_count += 1
        if len(self.failed_emails) < _FAILED_MAX:
            self.failed_emails.append(email)


class Creation:
    """Checks drafts, hashes their passwords and stores them."""

    def __init__(self, repository: UserRepository, hasher: PasswordHasher) -> None:
        self._repository = repository
        self._hasher = hasher
        # Of all batches together, no more hashes are asked for than are made at once: one
        # user's password never waits behind a hundred.
        self._batch_turns = asyncio.Semaphore(hasher.at_once)

    async def create(self, draft: Draft) -> User:
        """Store one user.

        Raises:
            InvalidRequestError: the draft breaks rules.
            EmailTakenError: another user has the email.
        """
        new = _checked(draft)
        if draft.password:
            new = replace(new, password_hash=await self._hasher.hash(draft.password))
        [user] = await self._repository.create([new])
        if user is None:
            raise EmailTakenError(draft.email)
        return user

    async def create_all(self, drafts: AsyncIterator[Draft]) -> BatchResult:
        """Store as many users as there are; a refused one does not stop the others."""
        result = BatchResult()
        group: list[_Item] = []
        try:
            async for draft in drafts:
                group.append(_item(draft))
                if len(group) == _GROUP:
                    await self._store(group, result)
                    group = []
            if group:
                await self._store(group, result)
        except BaseException:
            # Nobody is there to be told; the log says what was really stored.
            log.info("batch broken off", created_count=result.created_count)
            raise
        return result

    async def _store(self, group: Sequence["_Item"], result: BatchResult) -> None:
        write = self._repository.create(await self._hashed(group))
        writing = asyncio.create_task(write)
        try:
            await asyncio.shield(writing)
        finally:
            # A client that breaks off now does not undo the write under way.
            created = iter(await writing)
            for item in group:
                if item.user is None or next(created) is None:
                    result.refuse(item.email)
                else:
                    result.created_count += 1

    async def _hashed(self, group: Sequence["_Item"]) -> list[NewUser]:
        """Return the users to store, with the hashes of their passwords."""
        admitted = [(item.user, item.password) for item in group if item.user is not None]
        async with asyncio.TaskGroup() as tasks:
            hashing = [
                tasks.create_task(self._hash_in_turn(password)) if password else None
                for _, password in admitted
            ]
        return [
            user if task is None else replace(user, password_hash=task.result())
            for (user, _), task in zip(admitted, hashing, strict=True)
        ]

    async def _hash_in_turn(self, password: str) -> str:
        async with self._batch_turns:
            return await self._hasher.hash(password)


@dataclass(frozen=True, slots=True)
class _Item:
    """What must be kept of an item of a batch until its group is written: little of a bad one."""

    email: str
    user: NewUser | None = None
    password: str = field(default="", repr=False)


def _item(draft: Draft) -> _Item:
    email = draft.email[: rules.EMAIL_MAX]
    try:
        return _Item(email, _checked(draft), draft.password)
    except InvalidRequestError:
        return _Item(email)


def _checked(draft: Draft) -> NewUser:
    """Return the user to store, its password not yet hashed.

    Raises:
        InvalidRequestError: the draft breaks rules.
    """
    checks = rules.Checks()
    email = checks.check("email", rules.email, draft.email)
    name = checks.check("name", rules.name, draft.name)
    checks.check("password", rules.password, draft.password)
    role = checks.check("role", rules.role, draft.role)
    checks.done()
    assert email is not None
    assert name is not None
    assert role is not None
    return NewUser(email, name, role)
