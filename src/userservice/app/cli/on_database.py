"""Commands that open the database themselves, also while a server has it open."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from userservice.users.errors import StorageUnavailableError, StorageUnusableError
from userservice.users.storage.urls import Repository, open_repository

T = TypeVar("T")


def on_database(url: str, work: Callable[[Repository], Awaitable[T]]) -> T:
    """Open a database that is there, and return what the work with it returns.

    Raises:
        ClickException: the database cannot be used.
    """

    async def opened() -> T:
        repository = open_repository(url, lambda _changes: None, new=False)
        try:
            return await work(repository)
        finally:
            await repository.close()

    try:
        return asyncio.run(opened())
    except (StorageUnusableError, StorageUnavailableError) as error:
        raise click.ClickException(str(error)) from error
