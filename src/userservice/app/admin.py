"""Admins are made on the database itself: the first one has nobody to make it."""

from dataclasses import dataclass

from userservice.users.creation import Creation, Draft
from userservice.users.errors import EmailTakenError, StorageUnusableError
from userservice.users.model import Role
from userservice.users.passwords import PasswordHasher
from userservice.users.storage.urls import open_repository


@dataclass(frozen=True, slots=True)
class Admin:
    """An admin.

    Args:
        id: its user's id.
        promoted: whether the user was there before.
    """

    id: str
    promoted: bool


async def make_admin(
    database: str, email: str, name: str, password: str, *, promote: bool
) -> Admin:
    """Create an admin, also while a server runs; its watchers hear nothing of it.

    Args:
        database: the database's URL.
        email: the admin's email.
        name: its name.
        password: its password; empty for none, or for the one that a promoted user has.
        promote: whether a user who has the email becomes an admin.

    Raises:
        StorageUnusableError: the database cannot be used.
        StorageUnavailableError: it does not answer.
        InvalidRequestError: the email, the name or the password breaks a rule.
        EmailTakenError: a user has the email, and is not to be promoted.
    """
    if database in ("memory:", "sqlite:///:memory:"):
        raise StorageUnusableError("a database in memory belongs to the process that has it")
    repository = open_repository(database, lambda _changes: None)
    hasher = PasswordHasher()
    try:
        draft = Draft(email, name, Role.ADMIN, password)
        try:
            user = await Creation(repository, hasher).create(draft)
        except EmailTakenError:
            password_hash = await hasher.hash(password) if promote and password else None
            user_id = await repository.promote(email, password_hash) if promote else None
            if user_id is None:
                raise
            return Admin(user_id, promoted=True)
        return Admin(user.id, promoted=False)
    finally:
        hasher.close()
        await repository.close()
