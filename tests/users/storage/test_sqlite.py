"""What is special about SQLite: durability, shared commits, migrations, and a free event loop."""

import asyncio
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from userservice.users.errors import StorageUnavailableError, StorageUnusableError
from userservice.users.filter import parse_filter
from userservice.users.model import NewUser, Role
from userservice.users.order import parse_order
from userservice.users.storage import sqlite_file
from userservice.users.storage.repository import PageQuery
from userservice.users.storage.sqlite import SqliteRepository
from userservice.users.storage.urls import open_repository

Use = Callable[[sqlite3.Connection], object]


def ignore(_changes: object) -> None:
    """Nobody listens."""


def new(number: int) -> NewUser:
    """A user to be created."""
    return NewUser(f"user{number}@example.com", "Ann", Role.USER)


def changed_file(path: Path, use: Use) -> None:
    """Change a database file behind the program's back."""
    connection = sqlite3.connect(path)
    use(connection)
    connection.commit()
    connection.close()


async def test_a_commit_is_flushed_to_the_disk(tmp_path: Path) -> None:
    """The journal is a WAL, and every commit is synced (synchronous FULL is 2)."""
    repository = SqliteRepository(f"{tmp_path}/users.db", ignore)
    writer = repository._writer
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,)
    await repository.close()


async def test_concurrent_writes_share_commits(tmp_path: Path) -> None:
    """A hundred writes at once take a few commits, not a hundred."""
    repository = SqliteRepository(f"{tmp_path}/users.db", ignore)
    statements: list[str] = []
    repository._writer.set_trace_callback(statements.append)
    await asyncio.gather(*(repository.create([new(number)]) for number in range(100)))
    assert statements.count("COMMIT") <= 3
    await repository.close()


async def test_one_failed_write_does_not_undo_its_neighbours(tmp_path: Path) -> None:
    """In a shared transaction, a write that fails is undone alone."""
    repository = SqliteRepository(f"{tmp_path}/users.db", ignore)

    def fail(writer: sqlite3.Connection) -> tuple[None, list[object]]:
        writer.execute("DELETE FROM users")
        raise sqlite3.OperationalError("on purpose")

    outcomes = await asyncio.gather(
        repository.create([new(1)]),
        repository._write(fail),  # type: ignore[arg-type]  # it never returns
        repository.create([new(2)]),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], StorageUnavailableError)
    page = await repository.page(PageQuery(None, parse_order("email"), 10))
    assert [user.email for user in page.users] == ["user1@example.com", "user2@example.com"]
    await repository.close()


async def test_the_event_loop_never_waits_for_the_writer(tmp_path: Path) -> None:
    """While another process holds the write lock, reads answer and the loop runs on."""
    path = tmp_path / "users.db"
    repository = SqliteRepository(str(path), ignore)
    [ann] = await repository.create([new(1)])
    assert ann is not None
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    writing = asyncio.create_task(repository.create([new(2)]))
    slowest = 0.0
    for _ in range(50):
        started = time.perf_counter()
        await asyncio.sleep(0.001)
        assert await repository.get(ann.id) == ann
        slowest = max(slowest, time.perf_counter() - started)
    assert not writing.done()
    other.execute("ROLLBACK")
    other.close()
    assert await writing != [None]
    assert slowest < 0.25
    await repository.close()


async def test_those_who_write_at_once_to_one_file_share_it(tmp_path: Path) -> None:
    """No write fails, none waits long, and nobody is kept out by one who writes more."""
    repositories = [SqliteRepository(f"{tmp_path}/users.db", ignore) for _ in range(3)]
    written = [0, 0, 0]
    waits: list[float] = []

    async def write(number: int, writer: int) -> None:
        while max(written) < 300:
            started = time.perf_counter()
            email = f"{number}-{writer}-{written[number]}@example.com"
            await repositories[number].create([NewUser(email, "Ann", Role.USER)])
            waits.append(time.perf_counter() - started)
            written[number] += 1

    await asyncio.gather(*(write(number, writer) for number in range(3) for writer in range(4)))
    assert min(written) > 100, written
    assert max(waits) < 1
    for repository in repositories:
        await repository.close()


async def test_a_cancelled_list_stops_its_query(tmp_path: Path) -> None:
    """A query whose caller has gone frees its thread soon: the next one need not wait for it."""
    repository = SqliteRepository(f"{tmp_path}/users.db", ignore)

    def endless(reader: sqlite3.Connection) -> object:
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        return reader.execute(numbers + "SELECT count(*) FROM n").fetchone()

    queries = [asyncio.create_task(repository._read(endless)) for _ in range(2)]
    await asyncio.sleep(0.05)  # both threads are in it
    for query in queries:
        query.cancel()
    async with asyncio.timeout(5):
        await repository.page(PageQuery(None, parse_order(""), 10))
    await asyncio.gather(*queries, return_exceptions=True)
    await repository.close()


async def test_the_default_order_and_one_user_are_read_by_index(tmp_path: Path) -> None:
    """No page of the default order scans or sorts the table, at any depth."""
    repository = SqliteRepository(f"{tmp_path}/users.db", ignore)
    plans: list[str] = []

    def explain(reader: sqlite3.Connection) -> None:
        for statement in (
            "SELECT * FROM users WHERE (created_at, id) > (1, 'x') ORDER BY created_at, id LIMIT 9",
            "SELECT * FROM users WHERE id = 'x'",
            "SELECT 1 FROM users WHERE email_key = 'x'",
            "SELECT * FROM events WHERE id = 'x' AND revision > 1 ORDER BY revision DESC",
        ):
            plans.extend(row[3] for row in reader.execute(f"EXPLAIN QUERY PLAN {statement}"))

    await repository._read(explain)
    assert all(plan.startswith("SEARCH") for plan in plans), plans
    await repository.close()


async def test_what_is_stored_is_there_after_reopening(tmp_path: Path) -> None:
    """Users and secrets outlive the program."""
    url = f"sqlite:///{tmp_path}/users%20of%20mine.db"
    first = open_repository(url, ignore)
    [ann] = await first.create([new(1)])
    secret = await first.secret("tokens")
    await first.close()
    assert (tmp_path / "users of mine.db").exists()
    second = open_repository(url, ignore)
    assert ann is not None
    assert await second.get(ann.id) == ann
    assert await second.secret("tokens") == secret
    await second.close()


async def test_a_database_in_memory_ends_with_its_repository() -> None:
    """memory: keeps nothing, and two of them share nothing."""
    one, two = open_repository("memory:", ignore), open_repository("sqlite:///:memory:", ignore)
    await one.create([new(1)])
    page = await two.page(PageQuery(parse_filter(""), parse_order(""), 10))
    assert list(page.users) == []
    await one.close()
    await two.close()


@pytest.mark.parametrize(
    "url",
    ["", "users.db", "sqlite:", "sqlite:///", "sqlite://users.db", "postgres://u:secret@h/db", "x"],
)
async def test_an_unknown_url_is_refused_without_showing_it(url: str) -> None:
    """The error names the known forms, and never a password in the URL."""
    with pytest.raises(StorageUnusableError, match=r"sqlite:///users\.db") as refused:
        open_repository(url, ignore)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda path: path.write_text("no database" * 50), "not a database"),
        (lambda path: path.mkdir(), "is a folder"),
        (
            lambda path: changed_file(path, lambda db: db.execute("CREATE TABLE mine (x)")),
            "another program",
        ),
        (
            lambda path: changed_file(path, lambda db: db.execute("PRAGMA application_id = 7")),
            "another program",
        ),
    ],
)
async def test_a_file_that_is_not_ours_is_refused(
    tmp_path: Path, make: Callable[[Path], object], fault: str
) -> None:
    """The error says what the file is, and the file stays as it was."""
    path = tmp_path / "users.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(StorageUnusableError, match=fault):
        open_repository(f"sqlite:///{path}", ignore)
    if path.is_file():
        assert path.read_bytes() == before


async def test_a_new_database_is_its_owner_s_alone(tmp_path: Path) -> None:
    """It holds hashes of passwords and a key: nobody else may read the file, or those beside it."""
    repository = open_repository(f"sqlite:///{tmp_path}/users.db", ignore)
    await repository.create([new(1)])
    files = {file: os.stat(tmp_path / file).st_mode for file in os.listdir(tmp_path)}  # noqa: PTH116, PTH208  # a moment is enough
    assert {file: stat.S_IMODE(mode) for file, mode in files.items()} == {
        "users.db": 0o600,
        "users.db-shm": 0o600,
        "users.db-wal": 0o600,
    }
    await repository.close()


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A database is created, but not the folder it is to lie in."""
    with pytest.raises(StorageUnusableError, match="there is no folder"):
        open_repository(f"sqlite:///{tmp_path}/nowhere/users.db", ignore)


async def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    """An older program must not write what it does not understand."""
    url = f"sqlite:///{tmp_path}/users.db"
    await open_repository(url, ignore).close()
    changed_file(tmp_path / "users.db", lambda db: db.execute("PRAGMA user_version = 99"))
    with pytest.raises(StorageUnusableError, match="version 99, newer than"):
        open_repository(url, ignore)


def test_a_new_database_waits_for_another_that_makes_it(tmp_path: Path) -> None:
    """Also where SQLite itself would not: when the file is about to get its write-ahead log."""
    path = str(tmp_path / "users.db")
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.1, other.rollback)
    release.start()
    sqlite_file.prepare(path).close()
    release.join()
    other.close()


async def test_two_programs_may_open_one_new_database_at_once(tmp_path: Path) -> None:
    """The migrations are applied once."""
    url = f"sqlite:///{tmp_path}/users.db"

    def prepared() -> int:
        connection = sqlite_file.prepare(f"{tmp_path}/users.db")
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.close()
        return version

    versions = await asyncio.gather(*(asyncio.to_thread(prepared) for _ in range(4)))
    assert len(set(versions)) == 1
    await open_repository(url, ignore).close()
