"""Several workers on one port: to clients they are one service, whatever happens to one of them."""

import asyncio
import contextlib
import errno
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs
from tests import waiting
from tests.app.processes import PATIENCE_S, Processes, address
from tests.certificates import Authority, Files

from userservice import (
    ChatMessage,
    CreateUserRequest,
    DeleteUserRequest,
    FieldMask,
    GetUserRequest,
    ListUsersRequest,
    UpdateUserRequest,
    User,
    UserServiceClient,
    WatchUserRequest,
)
from userservice.app.cli import userservice as command_line
from userservice.app.errors import ServeError
from userservice.app.serve import ServeSettings
from userservice.app.workers import link, process, supervisor
from userservice.app.workers.process import WorkerProcess
from userservice.app.workers.supervisor import Supervisor
from userservice.rpc import UnavailableError
from userservice.rpc.tls import client_context

until = partial(waiting.until, patience_s=PATIENCE_S)  # processes have to start


T = TypeVar("T")

NAME = FieldMask(paths=["name"])
ANN = CreateUserRequest(email="ann@example.com", name="Ann")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def start(processes: Processes, workers: int, *options: str) -> subprocess.Popen[str]:
    """Start a service with so many workers."""
    return processes.start(
        *("--port=0", f"--workers={workers}", "--database=sqlite:///workers.db"),
        *("--log-format=json", *options),
    )


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The process numbers of the workers; one that has ended is none."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in command_of(int(pid))]


def command_of(pid: int) -> bytes:
    """The command line of a process; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def sockets_of(pid: int) -> int:
    """How many sockets a process has open."""
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += str(descriptor.readlink()).startswith("socket:")
    return count


async def ended(process: subprocess.Popen[str], status: int = 0) -> list[dict[str, object]]:
    """Wait until the service has ended, and return what it logged."""
    _, stderr = await asyncio.to_thread(process.communicate, timeout=PATIENCE_S)
    assert process.returncode == status, stderr
    return [json.loads(line) for line in stderr.splitlines()]


@asynccontextmanager
async def clients(
    target: str, count: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[list[UserServiceClient]]:
    """Clients with a connection each."""
    async with AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(
                UserServiceClient(target, timeout_s=PATIENCE_S, tls=tls)
            )
            for _ in range(count)
        ]
        yield made


async def again(call: Callable[[], Awaitable[T]], tried: Counter[str]) -> T:
    """Make a call, and make it again where it was UNAVAILABLE: at most three times."""
    for _ in range(3):
        try:
            return await call()
        except UnavailableError:
            tried["again"] += 1
    return await call()


def rename(client: UserServiceClient, user: User, name: str) -> Awaitable[User]:
    """Give a user another name."""
    return client.update_user(UpdateUserRequest(id=user.id, name=name, update_mask=NAME))


async def test_connections_are_spread_and_all_workers_serve_the_same(
    processes: Processes, server_files: Files, authority: Authority
) -> None:
    """Each worker has as many as the others, speaks TLS, and knows what another has written."""
    process = start(
        processes, 3, f"--tls-cert={server_files.cert}", f"--tls-key={server_files.key}"
    )
    target = address(process)
    pids = workers_of(process)
    before = [sockets_of(pid) for pid in pids]
    async with clients(target, 12, client_context(authority.file)) as all_clients:
        ann = await all_clients[0].create_user(ANN)
        for number, client in enumerate(all_clients):
            assert await client.get_user(GetUserRequest(id=ann.id)) == ann
            ann = await rename(client, ann, f"Ann {number}")
        now = [sockets_of(pid) for pid in pids]
        assert [after - first for after, first in zip(now, before, strict=True)] == [4, 4, 4]
    await until(lambda: [sockets_of(pid) for pid in pids] == before)
    process.send_signal(signal.SIGTERM)
    log = await ended(process)
    assert {line.get("worker") for line in log if line["event"] == "serving"} == {None, 1, 2, 3}
    assert [line["workers"] for line in log if "workers" in line] == [3]
    assert [line["level"] for line in log if line["level"] != "info"] == []


async def test_watch_and_chat_cross_the_workers(processes: Processes) -> None:
    """Every watcher has every revision, once and in order; the room is one, with one order."""
    process = start(processes, 2)
    async with clients(address(process), 4) as all_clients:
        names = await names_seen_by_watchers(all_clients)
        assert names == [names[0]] * 4
        renamed = [f"{number}-{turn}" for number in range(4) for turn in range(10)]
        assert Counter(names[0]) == Counter(["Ann", *renamed, names[0][-1]])
        rooms = [Room(number) for number in range(4)]
        everyone_in = asyncio.Barrier(4)
        await asyncio.gather(
            *(
                room.talk(client, everyone_in)
                for room, client in zip(rooms, all_clients, strict=True)
            )
        )
        # Who leaves first does not hear who leaves later.
        most = max((room.heard for room in rooms), key=len)
        assert Counter(most) == Counter(text for room in rooms for text in room.said)
        for room in rooms:
            assert room.heard == most[: len(room.heard)]
            assert set(room.said) <= set(room.heard)
    process.send_signal(signal.SIGTERM)
    await ended(process)


async def names_seen_by_watchers(all_clients: list[UserServiceClient]) -> list[list[str]]:
    """Let every client watch one user, which all rename at once, and then delete."""
    ann = await all_clients[0].create_user(ANN)
    watching = Counter[str]()

    async def watched(client: UserServiceClient) -> list[str]:
        names: list[str] = []
        async for event in client.watch_user(WatchUserRequest(id=ann.id)):
            if not names:
                watching["watchers"] += 1
            assert event.user is not None
            names.append(event.user.name)
        return names

    async def renamed(number: int) -> None:
        for turn in range(10):
            await rename(all_clients[number], ann, f"{number}-{turn}")

    watches = [asyncio.create_task(watched(client)) for client in all_clients]
    await until(lambda: watching["watchers"] == len(watches))
    await asyncio.gather(*(renamed(number) for number in range(len(all_clients))))
    await all_clients[-1].delete_user(DeleteUserRequest(id=ann.id))
    return [await watch for watch in watches]


class Room:
    """What one participant said and heard."""

    def __init__(self, number: int) -> None:
        self.said = [f"{number}-{turn}" for turn in range(20)]
        self.heard: list[str] = []
        self._name = str(number)
        self._inside = asyncio.Event()

    async def talk(self, client: UserServiceClient, everyone_in: asyncio.Barrier) -> None:
        """Say all of it once everyone is in the room, and leave."""
        async for line in client.chat(self._speech(everyone_in)):
            if line.text != "hello":
                self.heard.append(line.text)
            elif line.sender_id == self._name:
                self._inside.set()

    async def _speech(self, everyone_in: asyncio.Barrier) -> AsyncIterator[ChatMessage]:
        yield ChatMessage(sender_id=self._name, text="hello")
        await self._inside.wait()
        await everyone_in.wait()
        for text in self.said:
            yield ChatMessage(sender_id=self._name, text=text)


async def test_a_worker_that_is_killed_is_replaced_and_the_others_serve_on(
    processes: Processes,
) -> None:
    """Its callers may try again; the others notice nothing, and a deletion is never missed."""
    process = start(processes, 2)
    target = address(process)
    tried: Counter[str] = Counter()
    async with clients(target, 4) as all_clients:
        ann, bob = [
            await all_clients[0].create_user(CreateUserRequest(email=f"{n}@example.com", name=n))
            for n in ("ann", "bob")
        ]
        stop = asyncio.Event()

        async def call(client: UserServiceClient) -> None:
            while not stop.is_set():
                await again(lambda: client.get_user(GetUserRequest(id=ann.id)), tried)
                tried["calls"] += 1

        async def watch(client: UserServiceClient) -> list[str]:
            request = WatchUserRequest(id=bob.id)
            return [event.type.name async for event in client.watch_user(request)]

        watches = [asyncio.create_task(watch(client)) for client in all_clients]
        calls = [asyncio.create_task(call(client)) for client in all_clients]
        await until(lambda: tried["calls"] > 50)
        victim = workers_of(process)[0]
        os.kill(victim, signal.SIGKILL)
        await until(lambda: len(set(workers_of(process)) - {victim}) == 2)
        before = tried["calls"]
        await until(lambda: tried["calls"] > before + 50)
        stop.set()
        await asyncio.gather(*calls)
        await again(lambda: all_clients[0].delete_user(DeleteUserRequest(id=bob.id)), tried)
        ends = await asyncio.gather(*watches, return_exceptions=True)
        assert (
            sorted(str(end) for end in ends if isinstance(end, list))
            == ["['UPDATED', 'DELETED']"] * 2
        )
        assert sum(isinstance(end, UnavailableError) for end in ends) == 2
        assert 0 < tried["again"] <= 4

        # Without any worker, a new connection waits for one.
        for pid in workers_of(process):
            os.kill(pid, signal.SIGKILL)
        async with UserServiceClient(target, timeout_s=PATIENCE_S) as patient:
            assert (await patient.get_user(GetUserRequest(id=ann.id))).id == ann.id
    process.send_signal(signal.SIGTERM)
    log = await ended(process)
    died = [line for line in log if line["level"] == "error"]
    assert [line["event"] for line in died] == ["a worker ended with SIGKILL"] * 3
    assert died[0]["pid"] == victim
    # Those that took their place are waited for, like the first ones.
    drained = {line.get("worker") for line in log if line["event"] == "stopping"}
    assert drained == {None, 1, 2}


async def test_workers_drain_alone_and_together(processes: Processes) -> None:
    """SIGTERM for one: another takes its place, and no call fails. For all: calls end well."""
    process = start(processes, 2)
    target = address(process)
    made: Counter[str] = Counter()
    async with clients(target, 6) as all_clients:
        ann = await all_clients[0].create_user(ANN)
        stop = asyncio.Event()

        async def call(client: UserServiceClient) -> None:
            while not stop.is_set():
                await client.get_user(GetUserRequest(id=ann.id))
                made["calls"] += 1

        calls = [asyncio.create_task(call(client)) for client in all_clients[:4]]
        await until(lambda: made["calls"] > 50)
        leaver = workers_of(process)[0]
        for _ in range(3):  # only the first one counts
            os.kill(leaver, signal.SIGTERM)
        await until(lambda: len(set(workers_of(process)) - {leaver}) == 2)
        before = made["calls"]
        await until(lambda: made["calls"] > before + 50)
        stop.set()
        await asyncio.gather(*calls)

        half_sent, go_on = Counter[str](), asyncio.Event()

        async def users(part: int) -> AsyncIterator[CreateUserRequest]:
            for number in range(20):
                if number == 10:
                    half_sent["batches"] += 1
                    await go_on.wait()
                yield CreateUserRequest(email=f"u{part}-{number}@example.com", name="U")

        batches = [
            asyncio.create_task(client.batch_create_users(users(part)))
            for part, client in enumerate(all_clients)
        ]
        await until(lambda: half_sent["batches"] == len(batches))
        process.send_signal(signal.SIGTERM)
        await until(lambda: not accepts(target))
        go_on.set()
        assert [(await batch).created_count for batch in batches] == [20] * len(batches)
    log = await ended(process)
    assert [line["level"] for line in log if line["level"] != "info"] == []


def accepts(target: str) -> bool:
    """Whether a connection can be made."""
    host, port = target.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE_S).close()
    except OSError:
        return False
    return True


async def test_a_second_signal_ends_all_now(processes: Processes) -> None:
    """Calls under way end with UNAVAILABLE, and the status is 0 all the same."""
    process = start(processes, 2)
    target = address(process)
    async with clients(target, 2) as all_clients:
        begun = Counter[str]()

        async def endless(number: int) -> AsyncIterator[CreateUserRequest]:
            yield CreateUserRequest(email=f"{number}@example.com", name="U")
            begun["batches"] += 1
            await asyncio.Event().wait()

        batches = [
            asyncio.create_task(client.batch_create_users(endless(number)))
            for number, client in enumerate(all_clients)
        ]
        await until(lambda: begun["batches"] == 2)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        await until(lambda: not accepts(target))
        assert not any(batch.done() for batch in batches)
        process.send_signal(signal.SIGINT)
        outcomes = await asyncio.gather(*batches, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 2
        await ended(process)
        assert time.monotonic() - started < 10


async def test_no_worker_outlives_a_killed_supervisor(processes: Processes) -> None:
    """Each drains, and ends by itself. Here they serve on a Unix socket."""
    path = processes.folder / "users.sock"
    process = start(processes, 2, "--drain-timeout=1", f"--unix={path}")
    target = address(process)
    assert target == f"unix:{path}"
    pids = workers_of(process)
    async with clients(target, 2) as all_clients:
        for client in all_clients:
            await client.list_users(ListUsersRequest())
        process.kill()
        await until(lambda: not any(command_of(pid) for pid in pids))
    process.wait(PATIENCE_S)


@contextlib.contextmanager
def no_more_descriptors(pid: int) -> Iterator[None]:
    """Let a process have no more descriptors than it has."""
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}  # noqa: PTH208  # numbers
    lowest_free = next(number for number in range(len(used) + 1) if number not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    yield
    with contextlib.suppress(ProcessLookupError):  # it has ended
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


async def test_without_descriptors_calls_go_on(processes: Processes) -> None:
    """New connections wait until there are some: of the supervisor, and of a worker."""
    process = start(processes, 2)
    target = address(process)
    async with clients(target, 4) as (one, other, third, fourth):
        ann = await one.create_user(ANN)
        request = GetUserRequest(id=ann.id)
        with no_more_descriptors(process.pid):
            waiting = asyncio.create_task(other.get_user(request))
            for _ in range(20):
                await one.get_user(request)
            assert not waiting.done()
        assert await waiting == ann
        with contextlib.ExitStack() as full:
            for pid in workers_of(process):
                full.enter_context(no_more_descriptors(pid))
            waiting = asyncio.create_task(third.get_user(request))
            for _ in range(20):
                await one.get_user(request)
            assert not waiting.done()
        assert await waiting == ann
        with contextlib.ExitStack() as full:
            for pid in workers_of(process):
                full.enter_context(no_more_descriptors(pid))
            waiting = asyncio.create_task(fourth.get_user(request))
            for _ in range(20):
                await one.get_user(request)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(UnavailableError):  # nobody has room, and nobody will take it
                await waiting
    log = await ended(process)
    assert [line for line in log if line["level"] == "error"] == []
    warnings = {str(line["event"]) for line in log if line["level"] == "warning"}
    assert warnings == {
        "no connection can be accepted for now: Too many open files",
        "no connection can be taken for now",
    }


def test_mistakes_are_one_line_with_workers_too(processes: Processes) -> None:
    """What a worker cannot start with, the supervisor says, and ends."""
    many = ("--workers=2", "--port=0")
    with socket.create_server(("127.0.0.1", 0)) as taken, ThreadPoolExecutor(3) as threads:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        port = address.rpartition(":")[2]
        mistakes = {
            "use sqlite:///PATH": (*many, "--database=memory:"),
            f"cannot listen on {address}: Address already in use": (*many, f"--port={port}"),
            "there is no folder no": (*many, "--database=sqlite:///no/where.db"),
        }
        refusals = threads.map(lambda options: processes.refused(*options), mistakes.values())
        for expected, refusal in zip(mistakes, refusals, strict=True):
            assert expected in refusal
    for number in ("0", "257", "many"):
        outcome = CliRunner().invoke(command_line, ["serve", f"--workers={number}"])
        assert "--workers" in outcome.output


@pytest.fixture
def settings(tmp_path: Path) -> ServeSettings:
    """Two workers."""
    return ServeSettings(
        port=0, database=f"sqlite:///{tmp_path}/workers.db", workers=2, drain_timeout_s=0.2
    )


@asynccontextmanager
async def supervised(settings: ServeSettings) -> AsyncIterator[tuple[Supervisor, str]]:
    """A supervisor in this process, and its address."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    sockets = [socket.create_server(("127.0.0.1", 0))]
    made = Supervisor(settings, nothing, sockets)
    running = asyncio.create_task(made.run(stop, ready.set_result))
    await asyncio.wait({ready, running}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await running
    [target] = await ready
    try:
        yield made, target
    finally:
        stop.set()
        await running


def nothing() -> None:
    """The logs of these workers are as they are."""


async def test_what_the_system_has_no_room_for_is_tried_again(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that cannot be started, and a connection that cannot be handed over."""
    real_start, real_send = WorkerProcess.start, socket.send_fds
    no_room: list[OSError] = []

    async def scarce_start(*arguments: Any) -> None:
        if no_room:
            raise no_room.pop()
        await real_start(*arguments)

    def scarce_send(*arguments: Any) -> int:
        if no_room:
            raise no_room.pop()
        return real_send(*arguments)

    with capture_logs() as log:
        async with supervised(settings) as (made, target), clients(target, 1) as [client]:
            monkeypatch.setattr(socket, "send_fds", scarce_send)
            no_room.append(OSError(errno.ETOOMANYREFS, "Too many references"))
            await client.list_users(ListUsersRequest())
            assert no_room == []
            monkeypatch.setattr(WorkerProcess, "start", scarce_start)
            no_room.append(OSError(errno.ENOMEM, "Cannot allocate memory"))
            victim = next(iter(made._processes))
            victim.kill()
            await until(lambda: victim.died and sum(p.takes for p in made._processes) == 2)
            assert no_room == []
            no_room.append(OSError(errno.ENOMEM, "Cannot allocate memory"))
    errors = [line["event"] for line in log if line["log_level"] == "error"]
    assert errors == [
        "a worker ended with SIGKILL",
        "a worker cannot be started: Cannot allocate memory",
    ]
    with pytest.raises(ServeError, match="a worker cannot be started: Cannot allocate memory"):
        async with supervised(settings):
            pass


async def test_a_burst_waits_until_workers_take_it(settings: ServeSettings) -> None:
    """Few connections are on their way to a worker; in the end, all are taken."""
    async with supervised(settings) as (made, target):
        processes = tuple(made._processes)
        for process in processes:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGSTOP)
        host, port = target.split(":")
        with contextlib.ExitStack() as burst:
            for _ in range(60):
                burst.enter_context(socket.create_connection((host, int(port)), PATIENCE_S))
            await until(lambda: not any(process.ledger.has_room for process in processes))
            assert len(made._waiting) <= 1
            for process in processes:
                assert process.pid is not None
                os.kill(process.pid, signal.SIGCONT)
            await until(
                lambda: (
                    sum(process.ledger.load for process in processes) == 60
                    and all(process.ledger.oldest is None for process in processes)
                )
            )
        await until(lambda: sum(process.ledger.load for process in processes) == 0)


async def test_what_a_hung_worker_was_handed_another_one_takes(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed in the end, and no connection is lost with it."""
    monkeypatch.setattr(process, "_HUNG_S", 0.2)
    async with supervised(settings) as (made, target):
        hung = next(iter(made._processes))
        assert hung.pid is not None
        os.kill(hung.pid, signal.SIGSTOP)
        async with clients(target, 4) as all_clients:
            created = await asyncio.gather(
                *(
                    client.create_user(CreateUserRequest(email=f"{n}@example.com", name="U"))
                    for n, client in enumerate(all_clients)
                )
            )
            assert len({user.id for user in created}) == 4
        await until(lambda: hung.died)
        assert hung.ended_with == "SIGKILL"


async def test_a_full_worker_is_not_taken_for_hung(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it has no descriptor for what it was handed; it says that it lives."""
    monkeypatch.setattr(process, "_HUNG_S", 1.0)
    async with (
        supervised(replace(settings, workers=1)) as (made, target),
        clients(target, 2) as (one, other),
    ):
        await one.list_users(ListUsersRequest())
        [full] = made._processes
        assert full.pid is not None
        with no_more_descriptors(full.pid):
            waiting = asyncio.create_task(other.list_users(ListUsersRequest()))
            await until(lambda: full.ledger.oldest is not None)
            oldest = full.ledger.oldest
            assert oldest is not None
            await until(lambda: time.monotonic() > oldest.since + 1.5)
            assert full.ledger.oldest is oldest
        await waiting
        await one.list_users(ListUsersRequest())
        assert made._processes == {full}


async def test_what_nobody_takes_any_more_is_closed_at_once(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A stop finds all workers leaving: new clients are not held until the last call has ended."""
    monkeypatch.setattr(supervisor, "_LEFT_ALONE_S", PATIENCE_S)
    call_begun, go_on = asyncio.Event(), asyncio.Event()

    async def users() -> AsyncIterator[CreateUserRequest]:
        yield ANN
        call_begun.set()
        await go_on.wait()

    async def closed_while_draining(made: Supervisor, connection: socket.socket) -> None:
        try:
            assert await asyncio.get_running_loop().sock_recv(connection, 1) == b""
            assert len(made._processes) == 1
            with socket.create_server(("127.0.0.1", 0)) as not_taken:
                made.deal([not_taken])  # as a worker that leaves gives back
                assert not_taken.fileno() < 0
        finally:
            go_on.set()

    async with AsyncExitStack() as later:
        async with supervised(replace(settings, workers=1, drain_timeout_s=5.0)) as (made, target):
            [client] = await later.enter_async_context(clients(target, 1))
            call = asyncio.create_task(client.batch_create_users(users()))
            await call_begun.wait()
            [leaver] = made._processes
            assert leaver.pid is not None
            os.kill(leaver.pid, signal.SIGTERM)
            await leaver.left.wait()
            host, port = target.split(":")
            connection = socket.create_connection((host, int(port)), PATIENCE_S)
            later.enter_context(connection)
            connection.setblocking(False)
            closed = asyncio.create_task(closed_while_draining(made, connection))
        await closed
        assert (await call).created_count == 1
    # The worker was told to leave when it did so already.
    assert "Traceback" not in "".join(capfd.readouterr())


async def test_who_does_not_end_is_killed(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has the time to drain and a little more."""
    monkeypatch.setattr(supervisor, "_GRACE_S", 0.2)
    async with supervised(settings) as (made, _target):
        hung = next(iter(made._processes))
        assert hung.pid is not None
        os.kill(hung.pid, signal.SIGSTOP)
    assert hung.ended_with == "SIGKILL"


async def test_a_worker_that_does_not_read_is_killed(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for it has a bound; those in the room of the other worker go on talking."""
    monkeypatch.setattr(link, "UNREAD_MAX", 0)
    async with supervised(settings) as (made, target), clients(target, 2) as all_clients:
        for client in all_clients:
            await client.list_users(ListUsersRequest())
        hung = next(iter(made._processes))
        assert hung.pid is not None
        os.kill(hung.pid, signal.SIGSTOP)

        async def talk(client: UserServiceClient) -> int:
            lines = (ChatMessage(sender_id="ann", text="x" * 4000) async for _ in numbers(200))
            return len([line async for line in client.chat(lines)])

        heard = await asyncio.gather(*map(talk, all_clients), return_exceptions=True)
        assert 200 in heard
        assert [type(end) for end in heard if end != 200] == [UnavailableError]
        await until(lambda: hung.died)
        assert hung.ended_with == "SIGKILL"


async def numbers(count: int) -> AsyncIterator[int]:
    """Count, without a pause."""
    for number in range(count):
        yield number
