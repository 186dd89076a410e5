"""Runs server and client through all eight RPCs, and lists the shared objects they load.

A program of ``nox -s pure``. It fails when a shared object is loaded that is not
the interpreter's own: one that came with an installed package.
"""

import asyncio
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

from userservice import (
    AuthServiceClient,
    ChatMessage,
    CreateUserRequest,
    DeleteUserRequest,
    GetUserRequest,
    ListUsersRequest,
    SignInRequest,
    UpdateUserRequest,
    UserServiceClient,
    WatchUserRequest,
)
from userservice.rpc.middleware.metrics import ClientMetrics
from userservice.rpc.middleware.tracing import ClientTracing
from userservice.users.model import NewUser, Role
from userservice.users.passwords import PasswordHasher
from userservice.users.storage.urls import open_repository

SERVE = [sys.executable, "-m", "userservice", "serve"]
DATABASE = "sqlite:///pure.db"
ADMIN, PASSWORD = "root@localhost.test", "longenough"


async def call_everything(target: str) -> None:
    """Call each method of the contract once, as an admin who has signed in; measured and traced."""
    await make_admin()
    async with UserServiceClient(target) as client:
        credentials = SignInRequest(email=ADMIN, password=PASSWORD)
        session = await AuthServiceClient(client.channel).sign_in(credentials)
    token, middleware = session.access_token, [ClientTracing(), ClientMetrics()]
    async with UserServiceClient(target, token=token, middleware=middleware) as client:
        request = CreateUserRequest(email="ann@example.com", name="Ann", password="longenough")
        ann = await client.create_user(request)
        assert await client.get_user(GetUserRequest(id=ann.id)) == ann
        async with client.watch_user(WatchUserRequest(id=ann.id)) as events:
            await anext(events)
            lee = await client.update_user(UpdateUserRequest(id=ann.id, name="Lee"))
            assert (await anext(events)).user == lee
        batch = await client.batch_create_users(
            CreateUserRequest(email=f"user{number}@example.com", name="N") for number in range(10)
        )
        assert batch.created_count == 10
        page = await client.list_users(ListUsersRequest(filter="email:example", order_by="name"))
        assert page.total_count == 11
        async with client.chat([ChatMessage(sender_id=session.user_id, text="hi")]) as lines:
            assert [line.text async for line in lines] == ["hi"]
        await client.delete_user(DeleteUserRequest(id=ann.id))


async def make_admin() -> None:
    """Store an admin, as `userservice admin create` does."""
    hasher = PasswordHasher()
    new = NewUser(ADMIN, "Root", Role.ADMIN, await hasher.hash(PASSWORD))
    hasher.close()
    repository = open_repository(DATABASE, lambda _changes: None)
    await repository.create([new])
    await repository.close()


def shared_objects(maps: str) -> set[str]:
    """The shared objects of a process."""
    mapped = set(re.findall(r"(/\S+\.so(?:\.\S+)?)$", maps, re.MULTILINE))
    assert mapped, "no shared object at all: the check sees nothing"
    return mapped


def own_objects() -> set[str]:
    """What an interpreter loads that imports the same of the standard library, and nothing else."""
    for besides in ("app.cli.serve", "app.telemetry.meters"):  # of the server
        importlib.import_module(f"userservice.{besides}")
    modules = sorted(name for name in sys.modules if name in sys.stdlib_module_names)
    program = f"import {', '.join(modules)}; print(open('/proc/self/maps').read())"
    bare = [sys.executable, "-I", "-S", "-W", "ignore", "-c", program]
    return shared_objects(subprocess.run(bare, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Serve in another process, call from this one, and look at both."""
    server = subprocess.Popen(
        [*SERVE, "--auth", "--port=0", "--metrics-port=0", f"--database={DATABASE}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        try:
            assert server.stdout is not None
            asyncio.run(call_everything(server.stdout.readline().split()[-1]))
            maps = [
                Path(f"/proc/{number}/maps").read_text() for number in (server.pid, os.getpid())
            ]
        finally:
            server.terminate()
    foreign = shared_objects("".join(maps)) - own_objects()
    if foreign:
        sys.exit("not pure:\n" + "\n".join(sorted(foreign)))
    print("pure: all eight RPCs, and no shared object but the interpreter's own")


main()
