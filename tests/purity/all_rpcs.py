"""Runs server and client through all eight RPCs, and lists the shared objects they load.

A program of ``nox -s pure``. It fails when a shared object is loaded that is not
the interpreter's own: one that came with an installed package.
"""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from userservice import (
    ChatMessage,
    CreateUserRequest,
    DeleteUserRequest,
    GetUserRequest,
    ListUsersRequest,
    UpdateUserRequest,
    UserServiceClient,
    WatchUserRequest,
)


async def call_everything(target: str) -> None:
    """Call each method of the contract once."""
    async with UserServiceClient(target) as client:
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
        async with client.chat([ChatMessage(sender_id="ann", text="hi")]) as lines:
            assert [line.text async for line in lines] == ["hi"]
        await client.delete_user(DeleteUserRequest(id=ann.id))


def foreign_objects(process_id: int) -> set[str]:
    """The shared objects of a process that lie where packages are installed."""
    maps = Path(f"/proc/{process_id}/maps").read_text()
    mapped = set(re.findall(r"(/\S+\.so(?:\.\S+)?)$", maps, re.MULTILINE))
    assert mapped, "no shared object at all: the check sees nothing"
    packages = tuple(sys.argv[1:])
    return {
        path
        for path in mapped
        if path.startswith(packages) or "site-packages" in path or "dist-packages" in path
    }


def main() -> None:
    """Serve in another process, call from this one, and look at both."""
    server = subprocess.Popen(
        [sys.executable, "-m", "userservice", "serve", "--port=0", "--database=sqlite:///pure.db"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        try:
            assert server.stdout is not None
            asyncio.run(call_everything(server.stdout.readline().split()[-1]))
            foreign = foreign_objects(server.pid) | foreign_objects(os.getpid())
        finally:
            server.terminate()
    if foreign:
        sys.exit("not pure:\n" + "\n".join(sorted(foreign)))
    print("pure: all eight RPCs, and no shared object but the interpreter's own")


main()
