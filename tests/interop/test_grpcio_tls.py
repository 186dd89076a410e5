"""TLS with grpcio: its client at our server, and our client at its server."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.interop.conftest import PATIENCE_S, ServerProgram

from userservice import GetUserRequest, UnavailableError, UserServiceClient, client_context

if TYPE_CHECKING:
    from pathlib import Path

    from tests.certificates import Authority, Files
    from tests.interop.conftest import Contract


def test_grpcio_calls_our_server(
    contract: Contract, server_files: Files, authority: Authority, tmp_path: Path
) -> None:
    """With a certificate of its own; without one it is refused."""
    me = authority.sign("grpcio", "grpcio@example.com")
    options = [f"--tls-cert={server_files.cert}", f"--tls-key={server_files.key}"]
    options += [f"--tls-client-ca={authority.file}", "--port=0", "--database=memory:"]
    command = [sys.executable, "-m", "userservice", "serve", *options]
    pb = contract.messages
    with ServerProgram(command, tmp_path / "log") as server:
        ca = authority.file.read_bytes()
        known = grpc.ssl_channel_credentials(ca, me.key.read_bytes(), me.cert.read_bytes())
        with grpc.secure_channel(server.address, known) as channel:
            stub = contract.services.UserServiceStub(channel)
            user = stub.CreateUser(
                pb.CreateUserRequest(email="ann@example.com", name="Ann"), timeout=PATIENCE_S
            )
            watch = stub.WatchUser(pb.WatchUserRequest(id=user.id), timeout=PATIENCE_S)
            assert next(watch).user == user
            batch = [pb.CreateUserRequest(email=f"{n}@example.com", name="B") for n in range(300)]
            assert stub.BatchCreateUsers(iter(batch), timeout=PATIENCE_S).created_count == 300
            stub.DeleteUser(pb.DeleteUserRequest(id=user.id), timeout=PATIENCE_S)
            assert next(watch).type == pb.UserEvent.EVENT_TYPE_DELETED
        unknown = grpc.ssl_channel_credentials(ca)
        with grpc.secure_channel(server.address, unknown) as channel:
            stub = contract.services.UserServiceStub(channel)
            with pytest.raises(grpc.RpcError) as refused:
                stub.GetUser(pb.GetUserRequest(id=user.id), timeout=PATIENCE_S)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert server.stop() == 0


async def test_our_client_calls_grpcio(
    contract: Contract, server_files: Files, authority: Authority
) -> None:
    """It says who it is, and is told where it has to."""
    pb = contract.messages

    class Servicer(contract.services.UserServiceServicer):  # type: ignore[name-defined]  # generated
        def GetUser(self, request: Any, context: Any) -> Any:  # noqa: N802  # generated
            [name] = context.auth_context()["x509_common_name"]
            return pb.User(id=request.id, name=name.decode())

    credentials = grpc.ssl_server_credentials(
        [(server_files.key.read_bytes(), server_files.cert.read_bytes())],
        authority.file.read_bytes(),
        require_client_auth=True,
    )
    grpcio = grpc.server(ThreadPoolExecutor(2))
    contract.services.add_UserServiceServicer_to_server(Servicer(), grpcio)
    port = grpcio.add_secure_port("127.0.0.1:0", credentials)
    grpcio.start()
    try:
        me = authority.sign("ours", "ours@example.com", common_name="ours")
        for target in (f"127.0.0.1:{port}", f"localhost:{port}"):
            context = client_context(authority.file, me.cert, me.key)
            async with UserServiceClient(target, tls=context, timeout_s=PATIENCE_S) as client:
                assert (await client.get_user(GetUserRequest(id="1"))).name == "ours"
        context = client_context(authority.file)
        async with UserServiceClient(target, tls=context, timeout_s=PATIENCE_S) as client:
            with pytest.raises(UnavailableError) as refused:
                await client.get_user(GetUserRequest(id="1"))
        assert "it may want a client certificate that it trusts" in str(refused.value)
    finally:
        grpcio.stop(None).wait(PATIENCE_S)
