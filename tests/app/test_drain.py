"""Stopping and restarting: what is under way ends well, and what never ends says where it was."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator

import pytest
from tests.app.processes import PATIENCE_S, Processes, address, stopped

from userservice import (
    ChatMessage,
    CreateUserRequest,
    FieldMask,
    ListUsersRequest,
    UpdateUserRequest,
    UserServiceClient,
    WatchUserRequest,
)
from userservice._gen.grpc.health.v1 import HealthCheckRequest, HealthStub
from userservice.rpc import UnavailableError

NAME = FieldMask(paths=["name"])
ANN = CreateUserRequest(email="ann@example.com", name="Ann")


def users(count: int) -> list[CreateUserRequest]:
    """Users to create."""
    return [CreateUserRequest(email=f"u{n}@example.com", name=f"U{n}") for n in range(count)]


async def ended(process: subprocess.Popen[str]) -> str:
    """Wait until the server has ended, with status 0, and return its log."""
    _, stderr = await asyncio.to_thread(process.communicate, timeout=PATIENCE_S)
    assert process.returncode == 0, stderr
    return stderr


def test_calls_under_way_end_well(processes: Processes) -> None:
    """A batch that was half sent at SIGTERM is stored whole; then the server ends by itself."""
    process = processes.start("--port=0", "--database=sqlite:///drain.db")
    target = address(process)

    async def batch() -> None:
        half_sent, go_on = asyncio.Event(), asyncio.Event()

        async def requests() -> AsyncIterator[CreateUserRequest]:
            for number, request in enumerate(users(100)):
                if number == 50:
                    half_sent.set()
                    await go_on.wait()
                yield request

        async with UserServiceClient(target) as client:
            call = asyncio.create_task(client.batch_create_users(requests()))
            await half_sent.wait()
            process.send_signal(signal.SIGTERM)
            await refused(target)
            go_on.set()
            assert (await call).created_count == 100
            await ended(process)

    asyncio.run(batch())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_terminal_that_is_gone_is_a_reason_to_stop(processes: Processes, workers: int) -> None:
    """SIGHUP goes to every process of the terminal; nothing is left of the Unix socket."""
    path = processes.folder / "users.sock"
    processes.in_sessions = True
    process = processes.start(
        f"--unix={path}", "--database=sqlite:///drain.db", f"--workers={workers}"
    )
    address(process)
    os.killpg(process.pid, signal.SIGHUP)
    log = asyncio.run(ended(process))
    assert "stopping" in log
    assert "Traceback" not in log
    assert not path.exists()


def test_nohup_lets_it_outlive_the_terminal(processes: Processes) -> None:
    """What its parent ignores stays ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = processes.start("--port=0", "--database=memory:")
    finally:
        signal.signal(signal.SIGHUP, before)
    target = address(process)
    process.send_signal(signal.SIGHUP)

    async def call() -> None:
        async with UserServiceClient(target) as client:
            await client.list_users(ListUsersRequest())

    asyncio.run(call())
    _, log = stopped(process, signal.SIGTERM)
    assert log.count("stopping") == 1


async def refused(target: str) -> None:
    """Wait until the server takes no new connections."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with UserServiceClient(target) as other:
                try:
                    await other.list_users(ListUsersRequest())
                except UnavailableError:
                    return


def test_a_watch_goes_on_at_another_server(processes: Processes) -> None:
    """It ends at once with UNAVAILABLE, and the trailers say after which event to go on."""
    databases = "--database=sqlite:///watch.db"
    first, second = (processes.start("--port=0", databases) for _ in range(2))
    here, there = address(first), address(second)

    async def watch() -> None:
        async with UserServiceClient(here) as client, UserServiceClient(there) as other:
            user = await client.create_user(ANN)
            events = client.watch_user(WatchUserRequest(id=user.id))
            seen = [await anext(events)]
            first.send_signal(signal.SIGTERM)
            with pytest.raises(UnavailableError, match="going away") as error:
                await anext(events)
            await ended(first)
            token = error.value.trailing_metadata["resume-token"]
            assert token == seen[-1].resume_token
            await other.update_user(UpdateUserRequest(id=user.id, name="Anna", update_mask=NAME))
            request = WatchUserRequest(id=user.id, resume_token=str(token))
            again = await anext(other.watch_user(request))
            assert again.user is not None
            assert again.user.name == "Anna"

    asyncio.run(watch())


def test_a_watch_that_heard_nothing_keeps_its_place(processes: Processes) -> None:
    """A watch that was resumed, and saw no event since, is told its own token again."""
    process = processes.start("--port=0", "--database=sqlite:///watch.db")
    target = address(process)

    async def watch() -> None:
        async with UserServiceClient(target) as client:
            user = await client.create_user(ANN)
            token = (await anext(client.watch_user(WatchUserRequest(id=user.id)))).resume_token
            events = client.watch_user(WatchUserRequest(id=user.id, resume_token=token))
            waiting = asyncio.create_task(anext(events))
            await asyncio.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(UnavailableError) as error:
                await waiting
            assert error.value.trailing_metadata["resume-token"] == token
            await ended(process)

    asyncio.run(watch())


def test_chat_and_health_end_at_once(processes: Processes) -> None:
    """Neither would ever end by itself: nobody waits half a minute for them."""
    process = processes.start("--port=0", "--database=memory:")
    target = address(process)

    async def talk() -> None:
        async with UserServiceClient(target) as client:

            async def lines() -> AsyncIterator[ChatMessage]:
                yield ChatMessage(sender_id="ann", text="hello")
                await asyncio.Event().wait()

            heard = client.chat(lines())
            assert (await anext(heard)).text == "hello"
            health = HealthStub(client.channel).watch(HealthCheckRequest())
            await anext(health)
            async with asyncio.timeout(5):
                process.send_signal(signal.SIGTERM)
                await anext(health)  # NOT_SERVING
                for stream in (heard, health):
                    with pytest.raises(UnavailableError, match="going away"):
                        await anext(stream)
                await ended(process)

    asyncio.run(talk())


@pytest.mark.parametrize("how", ["time passes", "second signal"])
def test_nobody_waits_longer_than_that(processes: Processes, how: str) -> None:
    """After the time, or at a second signal, calls end with UNAVAILABLE, the server with 0."""
    timeout = "--drain-timeout=0.2" if how == "time passes" else "--drain-timeout=60"
    process = processes.start("--port=0", "--database=memory:", timeout)
    target = address(process)

    async def wait_in_vain() -> None:
        sent = asyncio.Event()

        async def requests() -> AsyncIterator[CreateUserRequest]:
            yield ANN
            sent.set()
            await asyncio.Event().wait()

        async with UserServiceClient(target) as client:
            call = asyncio.create_task(client.batch_create_users(requests()))
            await sent.wait()
            await client.list_users(ListUsersRequest())  # what came before it is there too
            process.send_signal(signal.SIGTERM)
            if how == "second signal":
                await refused(target)
                process.send_signal(signal.SIGTERM)
            with pytest.raises(UnavailableError, match="going away"):
                await call
            log = await ended(process)
            assert ("1 calls did not end" in log) == (how == "time passes")

    asyncio.run(wait_in_vain())
