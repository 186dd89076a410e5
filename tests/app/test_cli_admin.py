"""``userservice admin``: on the database itself, with and without a server."""

import asyncio
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.app.processes import Processes, address, stopped

from userservice import CreateUserRequest, GetUserRequest, Role, User, UserServiceClient
from userservice.app.cli import main
from userservice.users.passwords import PasswordHasher

Run = Callable[..., subprocess.CompletedProcess[str]]

PASSWORD = "correct horse battery"


def create(run: Run, file: Path, *more: str, said: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command on this file."""
    return run(
        *("admin", "create", "--email=ann@example.com", "--name=Ann"),
        f"--database=sqlite:///{file}",
        *more,
        said=said,
    )


def stored(file: Path) -> tuple[str, int, str | None]:
    """Return the id, the role and the hash of the one user."""
    with closing(sqlite3.connect(file)) as database:
        [row] = database.execute("SELECT id, role, password_hash FROM users").fetchall()
        found: tuple[str, int, str | None] = row
        return found


def verified(password: str, password_hash: str | None) -> bool:
    """Whether the password is the user's."""

    async def verify() -> bool:
        with closing(PasswordHasher()) as hasher:
            return await hasher.verify(password, password_hash)

    return asyncio.run(verify())


def test_the_first_admin_is_made_where_nobody_is(run: Run, tmp_path: Path) -> None:
    """In a new database too; the password comes from standard input, and is hashed."""
    file = tmp_path / "users.db"
    done = create(run, file, said=f"{PASSWORD}\n")
    assert (done.returncode, done.stderr) == (0, "")
    user_id, role, password_hash = stored(file)
    assert done.stdout == f"created {user_id}\n"
    assert role == Role.ADMIN
    assert verified(PASSWORD, password_hash)
    assert file.stat().st_mode & 0o077 == 0

    again = create(run, file, said="another password\n")
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == (
        "userservice: a user has the email ann@example.com: with --promote, it becomes an admin\n"
    )
    assert stored(file) == (user_id, role, password_hash)

    key = tmp_path / "password"
    key.write_text("another password\n")
    promoted = create(run, file, "--promote", f"--password-file={key}")
    assert promoted.stdout == f"ann@example.com is an admin now, id {user_id}\n"
    assert verified("another password", stored(file)[2])


def test_an_admin_is_made_while_a_server_runs(run: Run, processes: Processes) -> None:
    """Who is there becomes one, and keeps its password; the server sees it."""
    file = processes.folder / "users.db"
    process = processes.start("--port=0", f"--database=sqlite:///{file}")

    async def calls() -> User:
        async with UserServiceClient(address(process)) as client:
            request = CreateUserRequest(email="Ann@example.com", name="A", password=PASSWORD)
            ann = await client.create_user(request)
            done = await asyncio.to_thread(create, run, file, "--promote")
            assert done.stdout == f"ann@example.com is an admin now, id {ann.id}\n"
            return await client.get_user(GetUserRequest(id=ann.id))

    ann = asyncio.run(calls())
    assert (ann.name, ann.role) == ("A", Role.ADMIN)
    assert verified(PASSWORD, stored(file)[2])
    stopped(process, signal.SIGTERM)


@pytest.mark.parametrize(
    ("more", "password", "error"),
    [
        ([], "short", "password: must have 8 to 1,024 characters"),
        ([], "", "there is no password in the first line of "),
        (["--email=ann"], PASSWORD, "email: must be one address like ann@example.com"),
        (["--database=memory:"], PASSWORD, "a database in memory belongs to"),
        (["--database=postgres:"], PASSWORD, "not a database URL"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], password: str, error: str
) -> None:
    """And status 2."""
    key = tmp_path / "password"
    key.write_text(f"{password}\n")
    arguments = ["admin", "create", "--email=ann@example.com", "--name=Ann"]
    arguments += [f"--database=sqlite:///{tmp_path}/users.db", f"--password-file={key}", *more]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert len(errors.splitlines()) == 1
    assert error in errors
