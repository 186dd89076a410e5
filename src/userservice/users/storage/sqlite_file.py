"""The SQLite file: opening it, its settings, and its migrations."""

import os
import re
import sqlite3
import time
from importlib import resources
from pathlib import Path

from userservice.users.errors import StorageUnusableError

_MIGRATIONS = resources.files(__package__).joinpath("migrations", "sqlite")
_APPLICATION_ID = 1970500211  # set by the first migration
IN_MEMORY = ":memory:"
_WAIT_S = 5.0  # for a lock that another process holds
_TRY_AGAIN_S = 0.02
_PRIMARY_CODE = 0xFF  # of SQLite's extended error codes


def connect(path: str, *, wait_s: float = _WAIT_S) -> sqlite3.Connection:
    """Return a connection that any thread may use, one at a time; it commits when told."""
    connection = sqlite3.connect(
        path, timeout=wait_s, isolation_level=None, check_same_thread=False
    )
    try:
        # FULL: a commit is on the disk when it returns, also after a power loss
        # (https://sqlite.org/pragma.html#pragma_synchronous).
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(path: str) -> sqlite3.Connection:
    """Open the file, apply the migrations that it lacks, and return a connection.

    Raises:
        StorageUnusableError: it cannot be opened, is no database of ours, or is
            newer than this program.
    """
    give_up_at = time.monotonic() + _WAIT_S
    while True:
        try:
            _create(path)
            return _prepared(path)
        except (sqlite3.Error, OSError) as error:
            if not is_locked(error) or time.monotonic() > give_up_at:
                raise StorageUnusableError(_explain(path, error)) from error
            # SQLite itself does not wait where a file is to become one with a WAL: of two
            # programs that start at once on a new file, one would fail.
            time.sleep(_TRY_AGAIN_S)


def _prepared(path: str) -> sqlite3.Connection:
    connection = connect(path)
    try:
        # Before anything is written to a file that is not ours; in a transaction,
        # because another program may be creating it.
        connection.execute("BEGIN")
        _version(connection)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def is_locked(error: Exception) -> bool:
    """Return whether another connection has a lock that is needed."""
    return (
        isinstance(error, sqlite3.OperationalError)
        and error.sqlite_errorcode & _PRIMARY_CODE == sqlite3.SQLITE_BUSY
    )


def _create(path: str) -> None:
    """Create a missing file for its owner alone: it will hold hashes of passwords, and a key.

    SQLite gives the files beside it (-wal, -shm) the same permissions.
    """
    if path != IN_MEMORY:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _migrate(connection: sqlite3.Connection) -> None:
    # IMMEDIATE: of two programs that start at once, the second finds the work done.
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)
        for number, script in _scripts():
            if number > version:
                for statement in _statements(script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    """The number of the last migration applied.

    Raises:
        StorageUnusableError: the file is not ours, or newer than this program.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != _APPLICATION_ID and (application or version or tables):
        raise StorageUnusableError("the database belongs to another program")
    newest = _scripts()[-1][0]
    if version > newest:
        raise StorageUnusableError(
            f"the database is at version {version}, newer than this program's {newest}: "
            "run the newer program"
        )
    return version


def _scripts() -> list[tuple[int, str]]:
    """The migrations, by number."""
    files = (file for file in _MIGRATIONS.iterdir() if file.name.endswith(".sql"))
    return sorted((int(file.name.split("_")[0]), file.read_text("utf-8")) for file in files)


def _statements(script: str) -> list[str]:
    """The statements of a script: executescript() would commit before it runs them."""
    without_comments = re.sub(r"--.*", "", script)
    return [statement for statement in without_comments.split(";") if statement.strip()]


def _explain(path: str, error: sqlite3.Error | OSError) -> str:
    folder = Path(path).parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    if Path(path).is_dir():
        return f"{path} is a folder, not a database file"
    return f"cannot open {path}: {error.strerror if isinstance(error, OSError) else error}"
