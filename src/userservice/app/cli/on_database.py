"""Commands that open the database themselves, also while a server has it open."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from userservice.users.errors import StorageUnavailableError, StorageUnusableError
from userservice.users.storage.urls import Repository, is_in_memory, open_repository

T = TypeVar("T")


def on_database(url: str, work: Callable[[Repository], Awaitable[T]], *, new: bool = False) -> T:
    """Open a database, and return what the work with it returns.

    Args:
        url: the database's URL.
        work: what to do with it.
        new: whether it is made where it is not there.

    Raises:
        ClickException: the database cannot be used.
    """

    async def opened() -> T:
        new_file = new and not is_in_memory(url)
        repository = open_repository(url, lambda _changes: None, new=new_file)
        try:
            return await work(repository)
        finally:
            await repository.close()

    try:
        return asyncio.run(opened())
    except (StorageUnusableError, StorageUnavailableError) as error:
        raise click.ClickException(str(error)) from error
