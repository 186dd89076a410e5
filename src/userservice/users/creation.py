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
        """Count a refused item."""
        self.failed_count += 1
        if len(self.failed_emails) < _FAILED_MAX:
            self.failed_emails.append(email[: rules.EMAIL_MAX])


class Creation:
    """Checks drafts, hashes their passwords and stores them."""

    def __init__(self, repository: UserRepository, hasher: PasswordHasher) -> None:
        self._repository = repository
        self._hasher = hasher

    async def create(self, draft: Draft) -> User:
        """Store one user.

        Raises:
            InvalidRequestError: the draft breaks rules.
            EmailTakenError: another user has the email.
        """
        [new] = await self._hashed([(draft, _checked(draft))])
        [user] = await self._repository.create([new])
        if user is None:
            raise EmailTakenError(draft.email)
        return user

    async def create_all(self, drafts: AsyncIterator[Draft]) -> BatchResult:
        """Store as many users as there are; a refused one does not stop the others."""
        result = BatchResult()
        group: list[Draft] = []
        try:
            async for draft in drafts:
                group.append(draft)
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

    async def _store(self, group: Sequence[Draft], result: BatchResult) -> None:
        admitted: list[tuple[Draft, NewUser]] = []
        for draft in group:
            try:
                admitted.append((draft, _checked(draft)))
            except InvalidRequestError:
                result.refuse(draft.email)
        write = self._repository.create(await self._hashed(admitted))
        writing = asyncio.create_task(write)
        try:
            await asyncio.shield(writing)
        finally:
            # A client that breaks off now does not undo the write under way.
            for (draft, _), user in zip(admitted, await writing, strict=True):
                if user is None:
                    result.refuse(draft.email)
                else:
                    result.created_count += 1

    async def _hashed(self, admitted: Sequence[tuple[Draft, NewUser]]) -> list[NewUser]:
        """Add the password hashes, made side by side."""
        async with asyncio.TaskGroup() as tasks:
            hashing = [
                tasks.create_task(self._hasher.hash(draft.password)) if draft.password else None
                for draft, _ in admitted
            ]
        return [
            new if task is None else replace(new, password_hash=task.result())
            for (_, new), task in zip(admitted, hashing, strict=True)
        ]


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
