"""grpcio says who calls, by its call credentials; and reads why it is refused."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.app.test_auth import database_of, new_user, signed_for
from tests.interop.conftest import PATIENCE_S, ServerProgram
from tests.interop.test_grpcio_errors import failed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.certificates import Authority, Files
    from tests.interop.conftest import Contract


def test_grpcio_says_who_calls(
    contract: Contract, server_files: Files, authority: Authority, tmp_path: Path
) -> None:
    """By access tokens, over TLS; unary, in streams, and with asyncio."""
    ann = new_user(tmp_path)
    token = signed_for(tmp_path, ann)
    options = ["--auth", f"--tls-cert={server_files.cert}", f"--tls-key={server_files.key}"]
    options += ["--port=0", f"--database={database_of(tmp_path)}"]
    command = [sys.executable, "-m", "userservice", "serve", *options]
    pb = contract.messages
    get = pb.GetUserRequest(id=ann)
    ssl = grpc.ssl_channel_credentials(authority.file.read_bytes())

    def with_token(text: str) -> grpc.ChannelCredentials:
        return grpc.composite_channel_credentials(ssl, grpc.access_token_call_credentials(text))

    with ServerProgram(command, tmp_path / "log") as server:
        with grpc.secure_channel(server.address, with_token(token)) as channel:
            stub = contract.services.UserServiceStub(channel)
            assert stub.GetUser(get, timeout=PATIENCE_S).id == ann
            watch = stub.WatchUser(pb.WatchUserRequest(id=ann), timeout=PATIENCE_S)
            assert next(watch).user.id == ann
            watch.cancel()
            batch = [pb.CreateUserRequest(email="b@example.com", name="B")]
            assert stub.BatchCreateUsers(iter(batch), timeout=PATIENCE_S).created_count == 1

        async def with_asyncio() -> None:
            async with grpc.aio.secure_channel(server.address, with_token(token)) as channel:
                stub = contract.services.UserServiceStub(channel)
                assert (await stub.GetUser(get, timeout=PATIENCE_S)).id == ann

        asyncio.run(with_asyncio())
        for credentials, reason in (
            (ssl, "MISSING_CREDENTIALS"),
            (with_token("a.b.c"), "INVALID_TOKEN"),
        ):
            with grpc.secure_channel(server.address, credentials) as channel:
                stub = contract.services.UserServiceStub(channel)
                for call in refused_calls(contract, stub, get):
                    code, details = failed(call)
                    assert code is grpc.StatusCode.UNAUTHENTICATED
                    assert details["ErrorInfo"].reason == reason
                    assert details["ErrorInfo"].domain == "userservice.v1"
        assert server.stop() == 0


def refused_calls(contract: Contract, stub: Any, get: Any) -> list[Any]:
    """Calls of each kind."""
    pb = contract.messages
    return [
        lambda: stub.GetUser(get, timeout=PATIENCE_S),
        lambda: next(stub.WatchUser(pb.WatchUserRequest(id=get.id), timeout=PATIENCE_S)),
        lambda: stub.BatchCreateUsers(iter([]), timeout=PATIENCE_S),
        lambda: next(stub.Chat(iter([]), timeout=PATIENCE_S)),
    ]


def test_grpcio_sends_a_token_without_tls_as_metadata(contract: Contract, tmp_path: Path) -> None:
    """Its call credentials refuse to go without TLS; whoever means it adds the metadata."""
    ann = new_user(tmp_path)
    authorization = ("authorization", f"Bearer {signed_for(tmp_path, ann)}")
    options = ["--auth", "--port=0", f"--database={database_of(tmp_path)}"]
    command = [sys.executable, "-m", "userservice", "serve", *options]
    get = contract.messages.GetUserRequest(id=ann)
    with ServerProgram(command, tmp_path / "log") as server:
        with grpc.insecure_channel(server.address) as channel:
            stub = contract.services.UserServiceStub(channel)
            assert stub.GetUser(get, metadata=[authorization], timeout=PATIENCE_S).id == ann
            with pytest.raises(grpc.RpcError) as refused:
                stub.GetUser(get, metadata=[authorization, authorization], timeout=PATIENCE_S)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert server.stop() == 0
