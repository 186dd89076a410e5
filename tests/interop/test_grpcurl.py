"""grpcurl lists, describes and calls with nothing but the server's reflection."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.conftest import Languages, Program, ServerProgram

SERVICE = "userservice.v1.UserService"


@pytest.fixture
def grpcurl(languages: Languages, server: ServerProgram) -> Callable[..., str]:
    """Runs ``grpcurl -plaintext``, and returns what it prints."""
    program = languages.grpcurl()

    def run_grpcurl(*arguments: str, data: str | None = None, status: int = 0) -> str:
        options = [] if data is None else ["-d", data]
        done = subprocess.run(
            [program, "-plaintext", "-max-time=20", *options, server.address, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    return run_grpcurl


def test_grpcurl_lists_and_describes(grpcurl: Callable[..., str]) -> None:
    """The services, their methods and their messages can be read without a .proto file."""
    assert grpcurl("list").split() == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        SERVICE,
    ]
    assert f"{SERVICE}.WatchUser" in grpcurl("list", SERVICE).split()
    described = grpcurl("describe", SERVICE)
    assert "rpc BatchCreateUsers ( stream .userservice.v1.CreateUserRequest )" in described
    assert ".google.protobuf.FieldMask update_mask = 4;" in grpcurl(
        "describe", "userservice.v1.UpdateUserRequest"
    )


def test_grpcurl_calls(grpcurl: Callable[..., str], domain: str) -> None:
    """A unary call, a stream of requests, and health are called with JSON."""
    ann = json.dumps({"email": f"ann@{domain}", "name": "Ann"})
    created = json.loads(grpcurl(f"{SERVICE}/CreateUser", data=ann))
    assert (created["email"], created["role"]) == (f"ann@{domain}", "ROLE_USER")
    got = json.loads(grpcurl(f"{SERVICE}/GetUser", data=json.dumps({"id": created["id"]})))
    assert got == created
    batch = json.loads(grpcurl(f"{SERVICE}/BatchCreateUsers", data=f"{ann} {ann}"))
    assert batch["failedCount"] == 2
    assert json.loads(grpcurl("grpc.health.v1.Health/Check")) == {"status": "SERVING"}


def test_grpcurl_watches(
    languages: Languages,
    server: ServerProgram,
    start: Callable[..., Program],
    grpcurl: Callable[..., str],
    domain: str,
) -> None:
    """A watch prints each event as it happens, and ends with the user."""
    ann = json.dumps({"email": f"ann@{domain}", "name": "Ann"})
    user = json.dumps({"id": json.loads(grpcurl(f"{SERVICE}/CreateUser", data=ann))["id"]})
    program = languages.grpcurl()
    watch = start(program, "-plaintext", "-d", user, server.address, f"{SERVICE}/WatchUser")

    def event() -> Any:
        return json.loads("".join(iter(watch.line, "}")) + "}")

    assert event()["type"] == "EVENT_TYPE_UPDATED"
    grpcurl(f"{SERVICE}/DeleteUser", data=user)
    assert event()["type"] == "EVENT_TYPE_DELETED"
    assert watch.wait() == 0


def test_grpcurl_shows_errors(grpcurl: Callable[..., str]) -> None:
    """A failed call ends with 64 and the status, and shows the details by their types."""
    shown = grpcurl(f"{SERVICE}/CreateUser", data='{"email": "no email"}', status=64 + 3)
    assert "Code: InvalidArgument" in shown
    assert "google.rpc.BadRequest" in shown
    assert '"field": "email"' in shown
