"""Users on SQLite: one thread writes, others read, and the event loop never waits for a disk.

Writes that wait together share one transaction, and so one flush to the disk. A
point read runs on the event loop: in WAL mode a reader never waits for a writer,
and it costs less than the way to a thread and back.
"""

import asyncio
import datetime
import os
import queue
import random
import sqlite3
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from userservice.users import rules
from userservice.users.errors import StorageUnavailableError
from userservice.users.model import Change, ChangeKind, NewUser, Role, User, UserUpdate
from userservice.users.storage import sql, sqlite_accounts, sqlite_file, sqlite_keys
from userservice.users.storage.accounts import Credentials, Rotation, Session
from userservice.users.storage.keys import ApiToken, SigningKey
from userservice.users.storage.repository import KEPT_REVISIONS, Committed, Page, PageQuery

T = TypeVar("T")

_READERS = 2  # threads for lists; a point read needs none
_GROUP_MAX = 256  # writes in one transaction: bounds how long the first one waits
_PENDING_MAX = 10_000  # writes that may wait; a call beyond waits before it is queued
_LOCKED_MAX_S = 5.0  # how long another process may keep a write waiting
_LOCKED_SLEEP_S = (0.0001, 0.0006)  # from one try to the next
_STEPS_BETWEEN_CHECKS = 10_000  # SQLite instructions, some 0.1 ms

_USER_COLUMNS = "id, email, name, avatar, role, created_at, updated_at"
_CHANGE_COLUMNS = f"revision, kind, time, {_USER_COLUMNS}"
_SELECT_USER = f"SELECT {_USER_COLUMNS} FROM users WHERE id = ?"
_SELECT_CURRENT = (
    f"SELECT revision, {ChangeKind.UPDATED.value}, updated_at, {_USER_COLUMNS} "
    "FROM users WHERE id = ?"
)
_SELECT_REVISIONS = (
    f"SELECT {_CHANGE_COLUMNS} FROM events WHERE id = ? AND revision > ? "
    f"ORDER BY revision DESC LIMIT {KEPT_REVISIONS}"
)
_FORGET_REVISIONS = (
    "DELETE FROM events WHERE id = ? AND revision <= (SELECT revision FROM events "
    f"WHERE id = ? ORDER BY revision DESC LIMIT 1 OFFSET {KEPT_REVISIONS})"
)


@dataclass(frozen=True, slots=True)
class _Write:
    """A write that waits for its turn: what to do, and who wants to know."""

    work: Callable[[sqlite3.Connection], tuple[Any, list[Change]]]
    done: "asyncio.Future[Any]"


class SqliteRepository:
    """Keeps users in one SQLite file, or in memory; see `Repository`.

    Args:
        path: the file; None keeps the users in memory, until closed.
        committed: is told of every change, after its commit.
    """

    def __init__(self, path: str | None, committed: Committed) -> None:
        self._path = path or sqlite_file.IN_MEMORY
        self._committed = committed
        self._writer = sqlite_file.prepare(self._path)
        self._writer.execute("PRAGMA busy_timeout = 0")  # _begin waits
        # A database in memory belongs to its connection: there, all share one.
        self._in_memory = path is None
        self._lock = threading.Lock()
        self._points = self._reader(wait_s=0)
        self._idle_readers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        for _ in range(_READERS):
            self._idle_readers.put(self._reader())
        self._write_thread = ThreadPoolExecutor(1, "sqlite-writer")
        self._read_threads = ThreadPoolExecutor(_READERS, "sqlite-reader")
        self._waiting: deque[_Write] = deque()
        self._room = asyncio.Semaphore(_PENDING_MAX)
        self._flushing: asyncio.Task[None] | None = None
        self._closed = False

    async def create(self, users: Sequence[NewUser]) -> list[User | None]:
        """Store users; None stands for each whose email is taken, before or among them."""
        return await self._write(lambda writer: _create(writer, users))

    async def get(self, user_id: str) -> User | None:
        """Return a user, or None where there is none."""
        row = await self._point(_SELECT_USER, user_id)
        return None if row is None else _user(row)

    async def current(self, user_id: str) -> Change | None:
        """Return the latest revision of a user that exists, or None."""
        row = await self._point(_SELECT_CURRENT, user_id)
        return None if row is None else _change(row)

    async def update(self, user_id: str, update: UserUpdate) -> User | None:
        """Change a user, and return it, or None where there is none."""
        return await self._write(lambda writer: _update(writer, user_id, update))

    async def delete(self, user_id: str) -> bool:
        """Delete a user; False where there was none."""
        return await self._write(lambda writer: _delete(writer, user_id))

    async def page(self, query: PageQuery) -> Page:
        """Return one page of users."""
        return await self._read(lambda reader: _page(reader, query))

    async def revisions(self, user_id: str, after: int) -> list[Change]:
        """Return the revisions of a user after this one, oldest first."""

        def select(reader: sqlite3.Connection) -> list[Change]:
            rows = reader.execute(_SELECT_REVISIONS, (user_id, after)).fetchall()
            return [_change(row) for row in reversed(rows)]

        return await self._read(select)

    async def credentials(self, email: str) -> Credentials | None:
        """Return what the user with this email signs in with; None where there is none."""
        key = rules.email_key(email)
        row = await self._point(sqlite_accounts.SELECT_CREDENTIALS, key)
        return None if row is None else Credentials(*row)

    async def credentials_of(self, user_id: str) -> Credentials | None:
        """Return what a user signs in with; None where there is none."""
        row = await self._point(sqlite_accounts.SELECT_CREDENTIALS_OF, user_id)
        return None if row is None else Credentials(*row)

    async def begin_session(self, session: Session, password_hash: str) -> bool:
        """Store a session; False where this is not the hash of the user's password any more."""
        return await self._write_beside(
            lambda writer: sqlite_accounts.begin_session(writer, session, password_hash)
        )

    async def rotate_session(
        self, session_id: str, token_hash: bytes, next_hash: bytes, expires_at: datetime.datetime
    ) -> Rotation:
        """Put the next token in the place of this one; end the session where it is another."""
        if await self._point(sqlite_accounts.SELECT_SESSION, session_id) is None:
            return Rotation(None)  # whoever has no token costs the writer nothing
        return await self._write_beside(
            lambda writer: sqlite_accounts.rotate_session(
                writer, session_id, token_hash, next_hash, expires_at
            )
        )

    async def end_session(self, session_id: str) -> str | None:
        """End a session, and return whose it was; None where there is none."""
        if await self._point(sqlite_accounts.SELECT_SESSION, session_id) is None:
            return None
        return await self._write_beside(
            lambda writer: sqlite_accounts.end_session(writer, session_id)
        )

    async def change_password(
        self, user_id: str, old_hash: str, new_hash: str, kept_session: str | None
    ) -> bool:
        """Change a password, and end all sessions but one."""
        return await self._write_beside(
            lambda writer: sqlite_accounts.change_password(
                writer, user_id, old_hash, new_hash, kept_session
            )
        )

    async def standing(self, user_id: str, session_id: str | None = None) -> Role | None:
        """Return the role of a user now; None where the user, or the session, is gone."""
        if session_id is None:
            row = await self._point(sqlite_accounts.SELECT_ROLE, user_id)
        else:
            row = await self._point(sqlite_accounts.SELECT_ROLE_IN_SESSION, user_id, session_id)
        return None if row is None else Role(row[0])

    def role_of(self, user_id: str) -> Role | None:
        """Return the role of a user now, without waiting; None where there is none."""
        with _errors_of_storage(), self._turn():
            row = self._points.execute(sqlite_accounts.SELECT_ROLE, (user_id,)).fetchone()
        return None if row is None else Role(row[0])

    async def promote(self, email: str, password_hash: str | None) -> str | None:
        """Make the user with this email an admin, and return its id; None where there is none."""

        def work(writer: sqlite3.Connection) -> tuple[str | None, list[Change]]:
            user_id = sqlite_accounts.id_of(writer, email)
            if user_id is None:
                return None, []
            if password_hash is not None:
                sqlite_accounts.set_password(writer, user_id, password_hash)
            _, changes = _update(writer, user_id, UserUpdate(role=Role.ADMIN))
            return user_id, changes

        return await self._write(work)

    async def add_api_token(self, token: ApiToken) -> bool:
        """Store a token; False where there is no such owner."""
        return await self._write_beside(lambda writer: sqlite_keys.add_token(writer, token))

    async def api_token(self, token_id: str) -> ApiToken | None:
        """Return a token, or None where there is none; of an owner who is there."""
        row = await self._point(sqlite_keys.SELECT_TOKEN, token_id)
        return None if row is None else sqlite_keys.token_of(row)

    async def api_tokens(self, user_id: str | None = None) -> list[ApiToken]:
        """Return the tokens of an owner, or all of them, the oldest first."""
        return await self._read(lambda reader: sqlite_keys.tokens(reader, user_id))

    async def use_api_token(self, token_id: str, at: datetime.datetime) -> None:
        """Note when a token was last used."""
        await self._write_beside(lambda writer: sqlite_keys.use_token(writer, token_id, at))

    async def revoke_api_token(self, token_id: str) -> bool:
        """Delete a token; False where there was none."""
        return await self._write_beside(lambda writer: sqlite_keys.revoke_token(writer, token_id))

    async def signing_keys(self) -> list[SigningKey]:
        """Return the keys, the newest first; the first one is made where there is none."""
        keys = await self._read(sqlite_keys.signing_keys)
        return keys or await self._write_beside(sqlite_keys.first_signing_keys)

    async def rotate_signing_key(self, retired_for: datetime.timedelta) -> SigningKey:
        """Make a new key, and return it; the one until now is retired."""
        return await self._write_beside(
            lambda writer: sqlite_keys.rotate_signing_key(writer, retired_for)
        )

    async def secret(self, name: str) -> bytes:
        """Return 32 random bytes that stay the same for the life of the database."""
        return await self._write_beside(lambda writer: _secret(writer, name))

    async def ping(self) -> None:
        """Return when the database can be written to."""
        await self._write(_ping)

    async def close(self) -> None:
        """Finish the writes under way, and close the database."""
        self._closed = True
        if self._flushing is not None:
            await self._flushing
        for threads in (self._read_threads, self._write_thread):
            await asyncio.to_thread(threads.shutdown)
        self._points.close()
        while not self._idle_readers.empty():
            self._idle_readers.get().close()
        self._writer.close()

    def _reader(self, **options: float) -> sqlite3.Connection:
        if self._in_memory:
            return self._writer
        connection = sqlite_file.connect(self._path, **options)
        connection.execute("PRAGMA query_only = ON")
        return connection

    async def _point(self, statement: str, *key: str) -> tuple[Any, ...] | None:
        """Return the one row with this key."""
        try:
            with self._turn():
                row: tuple[Any, ...] | None = self._points.execute(statement, key).fetchone()
                return row
        except sqlite3.Error:
            # Another process recovers the file, or it is broken: the event loop
            # must not wait to find out.
            return await self._read(lambda reader: reader.execute(statement, key).fetchone())

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query on a reader thread; it stops soon after the caller is cancelled."""
        self._expect_open()
        cancelled = threading.Event()

        def run() -> T:
            reader = self._idle_readers.get()
            try:
                with self._turn():
                    reader.set_progress_handler(cancelled.is_set, _STEPS_BETWEEN_CHECKS)
                    try:
                        reader.execute("BEGIN")
                        try:
                            return work(reader)
                        finally:
                            reader.execute("COMMIT")
                    finally:
                        reader.set_progress_handler(None, 0)
            finally:
                self._idle_readers.put(reader)

        try:
            with _errors_of_storage():
                return await asyncio.get_running_loop().run_in_executor(self._read_threads, run)
        finally:
            cancelled.set()

    async def _write(self, work: Callable[[sqlite3.Connection], tuple[T, list[Change]]]) -> T:
        """Do the work in the next transaction, and return its result when that is durable.

        Once begun, a write is not undone by the cancellation of its caller.
        """
        self._expect_open()
        async with self._room:
            write = _Write(work, asyncio.get_running_loop().create_future())
            self._waiting.append(write)
            if self._flushing is None:
                self._flushing = asyncio.create_task(self._flush())
            with _errors_of_storage():
                result: T = await write.done
                return result

    async def _write_beside(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do work that changes no user in the next transaction, as `_write` does what may."""
        return await self._write(lambda writer: (work(writer), []))

    async def _flush(self) -> None:
        """Commit what waits, group by group, until nothing waits."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                group = [
                    self._waiting.popleft() for _ in range(min(len(self._waiting), _GROUP_MAX))
                ]
                # A caller that was cancelled before its turn changed nothing.
                group = [write for write in group if not write.done.cancelled()]
                try:
                    outcomes = await loop.run_in_executor(self._write_thread, self._commit, group)
                except Exception as error:  # noqa: BLE001  # nobody may wait for ever
                    outcomes = [_Outcome(error=error) for _ in group]
                self._announce(group, outcomes)
        finally:
            self._flushing = None

    def _announce(self, group: list[_Write], outcomes: list["_Outcome"]) -> None:
        changes = [change for outcome in outcomes for change in outcome.changes]
        if changes:
            self._committed(changes)
        for write, outcome in zip(group, outcomes, strict=True):
            if write.done.cancelled():
                continue
            if outcome.error is None:
                write.done.set_result(outcome.result)
            else:
                write.done.set_exception(outcome.error)

    def _commit(self, group: list[_Write]) -> list["_Outcome"]:
        """Do a group's work in one transaction (on the writer thread)."""
        with self._turn():
            try:
                _begin(self._writer)
                try:
                    outcomes = [_attempt(self._writer, write) for write in group]
                    self._writer.execute("COMMIT")
                except BaseException:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                return [_Outcome(error=error) for _ in group]
            return outcomes

    def _expect_open(self) -> None:
        if self._closed:
            raise StorageUnavailableError("the database is closed")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """In memory, threads take turns on the one connection."""
        if self._in_memory:
            with self._lock:
                yield
        else:
            yield


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a write."""

    result: Any = None
    changes: Sequence[Change] = ()
    error: Exception | None = None


def _begin(writer: sqlite3.Connection) -> None:
    """Begin a transaction, once no other process is in one.

    SQLite would sleep for up to 100 ms between its tries. A process that writes without
    a pause would then keep the others out, for a second and more. Short sleeps of
    chance length let each have its share.
    """
    give_up_at = time.monotonic() + _LOCKED_MAX_S
    while True:
        try:
            writer.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not sqlite_file.is_locked(error) or time.monotonic() > give_up_at:
                raise
        else:
            return
        time.sleep(random.uniform(*_LOCKED_SLEEP_S))  # noqa: S311  # no secret


def _attempt(writer: sqlite3.Connection, write: _Write) -> _Outcome:
    """Do one write of a group; its failure undoes it alone."""
    writer.execute("SAVEPOINT one_write")
    try:
        result, changes = write.work(writer)
    except Exception as error:  # noqa: BLE001  # the caller of this write gets it
        writer.execute("ROLLBACK TO one_write")
        writer.execute("RELEASE one_write")
        return _Outcome(error=error)
    writer.execute("RELEASE one_write")
    return _Outcome(result, changes)


@contextmanager
def _errors_of_storage() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageUnavailableError(str(error)) from error


def _create(
    writer: sqlite3.Connection, users: Sequence[NewUser]
) -> tuple[list[User | None], list[Change]]:
    created: list[User | None] = []
    changes = []
    for new in users:
        key = rules.email_key(new.email)
        if writer.execute("SELECT 1 FROM users WHERE email_key = ?", (key,)).fetchone():
            created.append(None)
            continue
        now = _now()
        user = User(str(uuid.uuid4()), new.email, new.name, "", new.role, now, now)
        change = _record(writer, ChangeKind.UPDATED, user, now, previous=0)
        writer.execute(
            f"INSERT INTO users ({_USER_COLUMNS}, email_key, revision, password_hash) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*_row(user), key, change.revision, new.password_hash),
        )
        created.append(user)
        changes.append(change)
    return created, changes


def _update(
    writer: sqlite3.Connection, user_id: str, update: UserUpdate
) -> tuple[User | None, list[Change]]:
    current = _current(writer, user_id)
    if current is None:
        return None, []
    user = current.user
    changed = replace(
        user,
        name=user.name if update.name is None else update.name,
        avatar=user.avatar if update.avatar is None else update.avatar,
        role=user.role if update.role is None else update.role,
    )
    if changed == user:
        return user, []
    # A clock that was set back must not make a user older than it was.
    now = max(_now(), user.updated_at)
    changed = replace(changed, updated_at=now)
    change = _record(writer, ChangeKind.UPDATED, changed, now, current.revision)
    _forget(writer, user_id)
    writer.execute(
        "UPDATE users SET name = ?, avatar = ?, role = ?, updated_at = ?, revision = ? "
        "WHERE id = ?",
        (
            changed.name,
            changed.avatar,
            changed.role,
            sql.microseconds(now),
            change.revision,
            user_id,
        ),
    )
    return changed, [change]


def _delete(writer: sqlite3.Connection, user_id: str) -> tuple[bool, list[Change]]:
    current = _current(writer, user_id)
    if current is None:
        return False, []
    user = current.user
    now = max(_now(), user.updated_at)
    change = _record(writer, ChangeKind.DELETED, user, now, current.revision)
    _forget(writer, user_id)
    sqlite_accounts.end_sessions(writer, user_id)
    sqlite_keys.revoke_tokens_of(writer, user_id)
    writer.execute("DELETE FROM users WHERE id = ?", (user_id,))
    return True, [change]


def _current(writer: sqlite3.Connection, user_id: str) -> Change | None:
    row = writer.execute(_SELECT_CURRENT, (user_id,)).fetchone()
    return None if row is None else _change(row)


def _record(
    writer: sqlite3.Connection,
    kind: ChangeKind,
    user: User,
    time: datetime.datetime,
    previous: int,
) -> Change:
    """Write a revision."""
    cursor = writer.execute(
        f"INSERT INTO events (kind, time, {_USER_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (kind, sql.microseconds(time), *_row(user)),
    )
    assert cursor.lastrowid is not None
    return Change(cursor.lastrowid, kind, user, time, previous)


def _forget(writer: sqlite3.Connection, user_id: str) -> None:
    """Delete the revisions that no watcher can ask for any more."""
    writer.execute(_FORGET_REVISIONS, (user_id, user_id))


def _page(reader: sqlite3.Connection, query: PageQuery) -> Page:
    where = sql.where(query.expression)
    total = None
    conditions, parameters = where.sql, where.parameters
    if query.after is None:
        counted = reader.execute(f"SELECT count(*) FROM users WHERE {where.sql}", parameters)
        total = counted.fetchone()[0]
    else:
        after = sql.after(query.order, query.after)
        conditions = f"({where.sql}) AND ({after.sql})"
        parameters = (*parameters, *after.parameters)
    rows = reader.execute(
        f"SELECT {_USER_COLUMNS} FROM users WHERE {conditions} "
        f"ORDER BY {sql.order_by(query.order)} LIMIT ?",
        (*parameters, query.size + 1),
    ).fetchall()
    users = [_user(row) for row in rows[: query.size]]
    more = len(rows) > query.size
    return Page(users, sql.sort_key(query.order, users[-1]) if more else None, total)


def _secret(writer: sqlite3.Connection, name: str) -> bytes:
    writer.execute(
        "INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (name, os.urandom(32)),
    )
    value: bytes = writer.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()[0]
    return value


def _ping(writer: sqlite3.Connection) -> tuple[None, list[Change]]:
    # That the transaction began shows that the file can be written to.
    writer.execute("SELECT 1 FROM users LIMIT 1").fetchone()
    return None, []


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _row(user: User) -> tuple[str | int, ...]:
    """The values of _USER_COLUMNS."""
    return (
        user.id,
        user.email,
        user.name,
        user.avatar,
        user.role.value,
        sql.microseconds(user.created_at),
        sql.microseconds(user.updated_at),
    )


def _user(row: tuple[Any, ...]) -> User:
    user_id, email, name, avatar, role, created_at, updated_at = row
    return User(
        user_id, email, name, avatar, Role(role), sql.time_of(created_at), sql.time_of(updated_at)
    )


def _change(row: tuple[Any, ...]) -> Change:
    revision, kind, time, *user = row
    return Change(revision, ChangeKind(kind), _user(tuple(user)), sql.time_of(time))
