"""The server as a process: how it starts, refuses to start, stops, and is killed."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from tests.app.processes import PATIENCE_S, Processes, address, stopped

from userservice import CreateUserRequest, GetUserRequest, ListUsersRequest, UserServiceClient
from userservice._gen.grpc.health.v1 import HealthCheckRequest, HealthStub
from userservice._gen.grpc.health.v1 import HealthCheckResponseServingStatus as ServingStatus
from userservice.rpc import Encoding, ResourceExhaustedError, RpcError
from userservice.users.storage import sqlite_file


def test_without_a_flag_it_serves_a_file_in_the_folder(processes: Processes) -> None:
    """`userservice serve`: port 50051 on loopback, and userservice.db in the working folder."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 50051))
        except OSError:
            pytest.skip("another program has port 50051")
    process = processes.start()
    assert address(process) == "127.0.0.1:50051"
    assert (processes.folder / "userservice.db").exists()
    stopped(process, signal.SIGTERM)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_it_cleanly(processes: Processes, signal_number: int) -> None:
    """Status 0, nothing more on standard output, no traceback; a caller in between is told."""
    process = processes.start("--port=0", "--log-format=json")
    target = address(process)

    async def watch_health() -> list[ServingStatus]:
        async with UserServiceClient(target) as client:
            statuses = []
            try:
                async for change in HealthStub(client.channel).watch(HealthCheckRequest()):
                    statuses.append(change.status)
                    process.send_signal(signal_number)
            except RpcError:
                pass
            return statuses

    assert asyncio.run(watch_health()) == [ServingStatus.SERVING, ServingStatus.NOT_SERVING]
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert stdout == ""
    events = [json.loads(line)["event"] for line in stderr.splitlines()]
    assert events[0] == "serving"
    assert "stopping" in events


def test_each_setting_is_a_flag_and_a_variable(processes: Processes) -> None:
    """A flag counts more than its variable."""
    process = processes.start(
        "--port=0",
        USERSERVICE_PORT="1",
        USERSERVICE_HOST="127.0.0.1",
        USERSERVICE_DATABASE="sqlite:///by-variable.db",
        USERSERVICE_LOG_LEVEL="error",
        USERSERVICE_LOG_FORMAT="json",
    )
    address(process)
    assert (processes.folder / "by-variable.db").exists()
    _, stderr = stopped(process, signal.SIGTERM)
    assert stderr == ""


def test_each_limit_can_be_set(processes: Processes) -> None:
    """As an option, any number of times, or all in a variable; and compression with them."""
    chosen = {"max_receive_message_bytes": 50, "max_call_s": 30.5}
    options = [f"--peer-limit={name}={value}" for name, value in chosen.items()]
    as_variable = " ".join(option.removeprefix("--peer-limit=") for option in options)
    for process in (
        processes.start("--port=0", "--database=memory:", "--compression=gzip", *options),
        processes.start("--port=0", "--database=memory:", USERSERVICE_PEER_LIMIT=as_variable),
    ):
        target = address(process)

        async def create(target: str = target) -> None:
            async with UserServiceClient(target, compression=Encoding.DEFLATE) as client:
                await client.create_user(CreateUserRequest(email="ann@example.com", name="A" * 9))
                with pytest.raises(ResourceExhaustedError, match="50"):
                    await client.create_user(
                        CreateUserRequest(email="b@example.com", name="b" * 99)
                    )

        asyncio.run(create())
        stopped(process, signal.SIGTERM)


def test_a_limit_that_is_none_is_refused(processes: Processes) -> None:
    """In one line, which says what would be right."""
    assert "max_call_s" in processes.refused("--peer-limit=max_calls=3")
    assert "a whole number, 0 or more" in processes.refused("--peer-limit=max_connections=2.5")
    assert "a number, 0 or more" in processes.refused(USERSERVICE_PEER_LIMIT="handshake_s=-1")
    assert "'gzip', 'deflate'" in processes.refused("--compression=br")


def test_mistakes_are_one_line_and_status_2(processes: Processes) -> None:
    """A port in use, a bad URL, an unreadable database: said in one line, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = processes.refused(f"--port={port}", "--database=memory:")
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in line
    assert "no-such-host" in processes.refused("--host=no-such-host.invalid", "--port=0")
    assert "--port" in processes.refused("--port=65536")
    assert "USERSERVICE_PORT" in processes.refused(USERSERVICE_PORT="http")
    assert "--log-level" in processes.refused("--log-level=loud")
    assert "'nan' is no number" in processes.refused("--max-connection-age=nan")
    assert "'nan' is no number" in processes.refused(USERSERVICE_DRAIN_TIMEOUT="nan")
    (processes.folder / "text.db").write_text("not a database, whatever its name says\n" * 9)
    assert "not a database" in processes.refused("--database=sqlite:///text.db")
    assert "no folder" in processes.refused("--database=sqlite:///no/where.db")
    damaged(processes.folder / "damaged.db")
    assert "the database cannot be used" in processes.refused("--database=sqlite:///damaged.db")
    secret = processes.refused("--database=postgres://ann:hunter2@db/users")
    assert "hunter2" not in secret


def damaged(path: Path) -> None:
    """Make a database of ours that lacks a table."""
    sqlite_file.prepare(str(path)).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE secrets")
        database.commit()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_database_without_permission_is_one_line(processes: Processes) -> None:
    """A file that may not be read is said, not guessed at."""
    path = processes.folder / "locked.db"
    path.touch(mode=0)
    assert "locked.db" in processes.refused("--database=sqlite:///locked.db")


def test_an_acknowledged_write_survives_sigkill(processes: Processes) -> None:
    """Killed amid concurrent writes, five times: every user that was returned is there."""
    acknowledged: dict[str, str] = {}

    async def write_until_killed(target: str, process: subprocess.Popen[str], part: int) -> None:
        async with UserServiceClient(target) as client:

            async def write(writer: int) -> None:
                number = 0
                while True:
                    email = f"user-{part}-{writer}-{number}@example.com"
                    user = await client.create_user(CreateUserRequest(email=email, name="Ann"))
                    acknowledged[user.id] = email
                    number += 1
                    if len(acknowledged) == (part + 1) * 100:
                        process.kill()

            await asyncio.gather(*(write(writer) for writer in range(8)), return_exceptions=True)

    async def check(target: str) -> None:
        async with UserServiceClient(target) as client:
            for user_id, email in acknowledged.items():
                assert (await client.get_user(GetUserRequest(id=user_id))).email == email
            page = await client.list_users(ListUsersRequest())
            assert page.total_count >= len(acknowledged)

    for part in range(3):
        process = processes.start("--port=0", "--database=sqlite:///kill.db")
        asyncio.run(write_until_killed(address(process), process, part))
        process.wait(PATIENCE_S)
    process = processes.start("--port=0", "--database=sqlite:///kill.db")
    asyncio.run(check(address(process)))
    stopped(process, signal.SIGTERM)
    assert len(acknowledged) >= 300
    with closing(sqlite3.connect(processes.folder / "kill.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_health_is_not_serving_while_the_database_does_not_answer(processes: Processes) -> None:
    """A locked database shows within seconds, on the service and the whole, and heals."""
    process = processes.start("--port=0", "--database=sqlite:///busy.db")
    target = address(process)

    async def watch_the_lock() -> list[ServingStatus]:
        other = sqlite3.connect(processes.folder / "busy.db", isolation_level=None)
        statuses = []
        async with UserServiceClient(target) as client:
            request = HealthCheckRequest(service="userservice.v1.UserService")
            async for change in HealthStub(client.channel).watch(request):
                statuses.append(change.status)
                if len(statuses) == 1:
                    other.execute("BEGIN EXCLUSIVE")
                elif len(statuses) == 2:
                    whole = await HealthStub(client.channel).check(HealthCheckRequest())
                    assert whole.status is ServingStatus.NOT_SERVING
                    other.execute("ROLLBACK")
                else:
                    break
        other.close()
        return statuses

    assert asyncio.run(watch_the_lock()) == [
        ServingStatus.SERVING,
        ServingStatus.NOT_SERVING,
        ServingStatus.SERVING,
    ]
    stopped(process, signal.SIGTERM)


def test_no_password_is_logged(processes: Processes) -> None:
    """At the most talkative level, whatever happens to the call."""
    process = processes.start("--port=0", "--database=memory:", "--log-level=debug")
    target = address(process)

    async def create() -> None:
        async with UserServiceClient(target) as client:
            good = CreateUserRequest(email="ann@example.com", name="Ann", password="correct horse")
            await client.create_user(good)
            for bad in (good, CreateUserRequest(password="correct horse")):
                with pytest.raises(RpcError) as refused:
                    await client.create_user(bad)
                assert "horse" not in repr(refused.value)
            await client.batch_create_users([good])

    asyncio.run(create())
    _, stderr = stopped(process, signal.SIGTERM)
    assert "correct horse" not in stderr
    assert "scrypt" not in stderr
