"""Ten rolling restarts under load: no call fails, and no acknowledged write is lost."""

import asyncio
import itertools
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass, field

import grpc
import grpc.aio
import pytest
from tests.app.processes import PATIENCE_S, Processes, address

from userservice import (
    CreateUserRequest,
    FieldMask,
    GetUserRequest,
    UpdateUserRequest,
    User,
    UserServiceClient,
)
from userservice.rpc import UnavailableError

pytestmark = pytest.mark.once

RESTARTS = 10
CALLERS = 4  # of each kind, with one call under way each
ATTEMPTS = 4
DEADLINE_S = 10.0
BETWEEN_S = 0.3  # a client must have found the new server before the old one goes
DATABASE = "--database=sqlite:///rolling.db"


@dataclass
class Load:
    """What the callers do until they are told to stop, and what came of it."""

    targets: list[str]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    calls: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, str] = field(default_factory=dict)

    async def ours(self, user_id: str) -> None:
        """Write and read through our client; what is UNAVAILABLE here is tried there."""
        async with (
            UserServiceClient(self.targets[0]) as one,
            UserServiceClient(self.targets[1]) as two,
        ):
            clients = itertools.cycle([one, two])
            for number in itertools.count():
                if self.stop.is_set():
                    return
                await self._attempt(clients, user_id, f"name {number}")
                self.calls["ours"] += 1

    async def _attempt(
        self, clients: "itertools.cycle[UserServiceClient]", user_id: str, name: str
    ) -> None:
        for attempt in range(ATTEMPTS):
            client = next(clients)
            try:
                user = await client.update_user(
                    UpdateUserRequest(id=user_id, name=name, update_mask=FieldMask(paths=["name"])),
                    timeout=DEADLINE_S,
                )
                assert (await client.get_user(GetUserRequest(id=user_id))).name == user.name
            except UnavailableError:
                if attempt == ATTEMPTS - 1:
                    raise
                self.calls["tried again"] += 1
            else:
                self.acknowledged[user_id] = name
                return

    async def grpcio(self, user_id: str) -> None:
        """Read through grpcio's client, which knows both servers; it is told to try nothing again.

        Only what no server looked at may be sent again, which gRPC does by itself.
        """
        options = [
            ("grpc.lb_policy_name", "round_robin"),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 50),
        ]
        target = f"ipv4:{','.join(self.targets)}"
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            get_user = channel.unary_unary(
                "/userservice.v1.UserService/GetUser",
                request_serializer=bytes,
                response_deserializer=User.parse,
            )
            while not self.stop.is_set():
                user = await get_user(GetUserRequest(id=user_id), timeout=DEADLINE_S)
                assert user.id == user_id
                self.calls["grpcio"] += 1


def test_ten_rolling_restarts_lose_no_call(processes: Processes) -> None:
    """Two servers on one database, each stopped and started again in turn."""
    servers = [processes.start("--port=0", DATABASE) for _ in range(2)]
    load = asyncio.run(restart_in_turn(processes, servers))
    assert load.calls["ours"] > 100
    assert load.calls["grpcio"] > 100
    assert load.calls["tried again"] > 0  # or the restarts were not felt
    print(dict(load.calls))


async def restart_in_turn(processes: Processes, servers: list[subprocess.Popen[str]]) -> Load:
    """Restart under load; the first call that fails ends it with its error."""
    load = Load([address(server) for server in servers])
    async with UserServiceClient(load.targets[0]) as client:
        ids = [
            (await client.create_user(CreateUserRequest(email=f"u{n}@example.com", name="Ann"))).id
            for n in range(CALLERS)
        ]
        async with asyncio.TaskGroup() as callers:
            for user_id in ids:
                callers.create_task(load.ours(user_id))
                callers.create_task(load.grpcio(user_id))
            for number in range(RESTARTS):
                await restart(processes, servers, load.targets, number % 2)
                await asyncio.sleep(BETWEEN_S)
            load.stop.set()
    async with UserServiceClient(load.targets[0]) as client:
        for user_id, name in load.acknowledged.items():
            assert (await client.get_user(GetUserRequest(id=user_id))).name == name
    return load


async def restart(
    processes: Processes, servers: list[subprocess.Popen[str]], targets: list[str], place: int
) -> None:
    """Stop one server, which ends with status 0, and start it again on its port."""
    servers[place].send_signal(signal.SIGTERM)
    _, stderr = await asyncio.to_thread(servers[place].communicate, timeout=PATIENCE_S)
    assert servers[place].returncode == 0, stderr
    port = targets[place].rpartition(":")[2]
    servers[place] = processes.start(f"--port={port}", DATABASE)
    assert await asyncio.to_thread(address, servers[place]) == targets[place]
