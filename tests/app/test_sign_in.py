"""Sign-in and the policy as the settings have them: served with --auth, and not without."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from grpclib.reflection.v1 import reflection_pb2
from tests.app.processes import Processes, address
from tests.certificates import Authority

from userservice import (
    AuthServiceClient,
    CreateUserRequest,
    DeleteUserRequest,
    GetUserRequest,
    ListUsersRequest,
    PermissionDeniedError,
    Role,
    SignInRequest,
    SignOutRequest,
    UnauthenticatedError,
    UnimplementedError,
    UpdateUserRequest,
    UserServiceClient,
    WatchUserRequest,
    client_context,
)
from userservice._gen.grpc.health.v1 import HealthCheckRequest, HealthStub
from userservice._gen.grpc.health.v1 import HealthCheckResponseServingStatus as ServingStatus
from userservice.app.auth import AuthSettings
from userservice.app.cli import main
from userservice.app.serve import ServeSettings, TlsFiles, running_server
from userservice.rpc import connect
from userservice.users import model
from userservice.users.api_tokens import new_api_token
from userservice.users.model import NewUser, UserUpdate
from userservice.users.passwords import PasswordHasher
from userservice.users.storage.urls import open_repository

Run = Callable[..., subprocess.CompletedProcess[str]]

PASSWORD = "correct horse battery"


@pytest.fixture
async def database(tmp_path: Path) -> str:
    """A database with an admin who has a password."""
    url = f"sqlite:///{tmp_path}/users.db"
    repository = open_repository(url, lambda _changes: None)
    hasher = PasswordHasher()
    password_hash = await hasher.hash(PASSWORD)
    hasher.close()
    await repository.create([NewUser("ann@example.com", "Ann", model.Role.ADMIN, password_hash)])
    await repository.close()
    return url


@pytest.fixture
async def secured(database: str) -> AsyncIterator[str]:
    """The address of a server with authentication."""
    settings = ServeSettings(port=0, database=database, auth=AuthSettings(wanted=True))
    async with running_server(settings) as server:
        yield server.addresses[0]


async def test_with_authentication_there_is_sign_in(secured: str) -> None:
    """A token of it says who calls, and what it may do is in the policy."""
    async with UserServiceClient(secured) as client:
        with pytest.raises(UnauthenticatedError):
            await client.list_users(ListUsersRequest())
        auth = AuthServiceClient(client.channel)
        answer = await auth.sign_in(SignInRequest(email="ann@example.com", password=PASSWORD))
        bearer = {"authorization": f"Bearer {answer.access_token}"}
        request = CreateUserRequest(email="bob@example.com", name="Bob", password=PASSWORD)
        bob = await client.create_user(request, metadata=bearer)
        ann = await client.get_user(GetUserRequest(id=answer.user_id), metadata=bearer)
        assert (ann.email, ann.role) == ("ann@example.com", Role.ADMIN)
        answer = await auth.sign_in(SignInRequest(email="bob@example.com", password=PASSWORD))
        bearer = {"authorization": f"Bearer {answer.access_token}"}
        assert await client.get_user(GetUserRequest(id=bob.id), metadata=bearer) == bob
        with pytest.raises(PermissionDeniedError):
            await client.list_users(ListUsersRequest(), metadata=bearer)


async def test_reflection_shows_it(secured: str) -> None:
    """To who does not say who it is as well."""
    name = "userservice.v1.AuthService"

    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=name),
    ]

    def answers() -> list[reflection_pb2.ServerReflectionResponse]:
        with grpc.insecure_channel(secured) as channel:
            ask = channel.stream_stream(
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                reflection_pb2.ServerReflectionRequest.SerializeToString,
                reflection_pb2.ServerReflectionResponse.FromString,
            )
            return list(ask(iter(requests)))

    listed, described = await asyncio.to_thread(answers)
    assert name in [service.name for service in listed.list_services_response.service]
    files = described.file_descriptor_response.file_descriptor_proto
    assert any(b"ChangePassword" in file for file in files)


async def test_its_health_is_told(secured: str) -> None:
    """As that of the users is."""
    async with connect(secured) as channel:
        request = HealthCheckRequest(service="userservice.v1.AuthService")
        answer = await HealthStub(channel).check(request)
    assert answer.status == ServingStatus.SERVING


async def test_without_authentication_there_is_none(address: str) -> None:
    """Everybody may do everything, and nobody can sign in."""
    async with UserServiceClient(address) as client:
        await client.list_users(ListUsersRequest())
        with pytest.raises(UnimplementedError):
            await AuthServiceClient(client.channel).sign_in(SignInRequest())


async def test_certificates_have_the_roles_of_the_settings(database: str, tmp_path: Path) -> None:
    """By the name that authentication finds in them; without one, none."""
    authority = Authority(tmp_path)
    server_files = authority.sign("server", "localhost", "127.0.0.1")
    settings = ServeSettings(
        port=0,
        database=database,
        tls=TlsFiles(str(server_files.cert), str(server_files.key), str(authority.file)),
        auth=AuthSettings(
            wanted=True, certificates=(("dns:backup.example.com", model.Role.MODERATOR),)
        ),
    )
    async with running_server(settings) as server:
        for name, allowed in [("backup.example.com", True), ("other.example.com", False)]:
            files = authority.sign(name, name)
            context = client_context(str(authority.file), str(files.cert), str(files.key))
            async with UserServiceClient(server.addresses[0], tls=context) as client:
                if not allowed:
                    with pytest.raises(PermissionDeniedError, match="certificate"):
                        await client.list_users(ListUsersRequest())
                    continue
                page = await client.list_users(ListUsersRequest())
                assert page.total_count == 1
                with pytest.raises(PermissionDeniedError):
                    await client.delete_user(DeleteUserRequest(id=page.users[0].id))


async def test_an_api_token_acts_as_its_owner(secured: str, database: str) -> None:
    """With the role that the owner has now."""
    repository = open_repository(database, lambda _changes: None)
    ann = await repository.credentials("ann@example.com")
    assert ann is not None
    token, text = new_api_token(ann.user_id, "nightly", None)
    await repository.add_api_token(token)
    async with UserServiceClient(secured, token=text) as client:
        await client.list_users(ListUsersRequest())
        await repository.update(ann.user_id, UserUpdate(role=model.Role.USER))
        with pytest.raises(PermissionDeniedError):
            await client.list_users(ListUsersRequest())
        await client.get_user(GetUserRequest(id=ann.user_id))
    await repository.close()


async def test_an_open_call_hears_of_its_caller_from_every_worker(
    processes: Processes, database: str
) -> None:
    """A new role and a sign-out end it at once, whichever worker made them."""
    process = processes.start("--port=0", "--auth", "--workers=2", f"--database={database}")
    target = await asyncio.to_thread(address, process)
    async with UserServiceClient(target) as here, UserServiceClient(target) as there:
        # Each connection goes to the worker that has the fewest.
        auth = AuthServiceClient(here.channel)
        request = SignInRequest(email="ann@example.com", password=PASSWORD)
        ann = await auth.sign_in(request)
        admin = {"authorization": f"Bearer {ann.access_token}"}
        bob = await there.create_user(
            CreateUserRequest(
                email="bob@example.com", name="Bob", password=PASSWORD, role=Role.MODERATOR
            ),
            metadata=admin,
        )
        request = SignInRequest(email="bob@example.com", password=PASSWORD)
        session = await auth.sign_in(request)
        moderator = {"authorization": f"Bearer {session.access_token}"}
        watches = [
            client.watch_user(WatchUserRequest(id=user_id), metadata=moderator)
            for client in (here, there)
            for user_id in (ann.user_id, bob.id)
        ]
        for watch in watches:
            await anext(watch)

        await here.update_user(UpdateUserRequest(id=bob.id, role=Role.USER), metadata=admin)
        async with asyncio.timeout(5):
            for watch in (watches[0], watches[2]):
                with pytest.raises(PermissionDeniedError):
                    await anext(watch)
            for watch in (watches[1], watches[3]):
                await anext(watch)

        await auth.sign_out(SignOutRequest(refresh_token=session.refresh_token))
        async with asyncio.timeout(5):
            for watch in (watches[1], watches[3]):
                with pytest.raises(UnauthenticatedError):
                    await anext(watch)


# The command line


def test_a_token_is_printed_for_the_other_commands(
    run: Run, processes: Processes, database: str
) -> None:
    """Alone, or with all that was answered."""
    process = processes.start("--port=0", "--auth", f"--database={database}")
    target = address(process)
    key = processes.folder / "password"
    key.write_text(f"{PASSWORD}\n")
    signin = ("signin", "--email=ann@example.com", f"--password-file={key}", f"--target={target}")
    done = run(*signin)
    assert (done.returncode, done.stderr) == (0, "")
    token = processes.folder / "token"
    token.write_text(done.stdout)
    listed = run("users", "list", f"--token-file={token}", "--json", f"--target={target}")
    assert json.loads(listed.stdout)["email"] == "ann@example.com"

    answer = json.loads(run(*signin, "--json").stdout)
    assert set(answer) == {"accessToken", "expiresIn", "refreshToken", "userId"}
    assert answer["expiresIn"] == "900s"

    key.write_text("another password\n")
    refused = run(*signin)
    assert (refused.returncode, refused.stdout) == (80, "")
    assert refused.stderr == ("userservice: UNAUTHENTICATED: the email or the password is wrong\n")


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that fails before it calls, and return its one line."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert len(errors.splitlines()) == 1
    return errors


def test_a_password_stays_secret_on_its_way(capsys: pytest.CaptureFixture[str]) -> None:
    """Without TLS it goes to no other machine; it is not even read."""
    line = failed(
        capsys, "signin", "--email=a@b.co", "--password-file=none", "--target=example.com:1"
    )
    assert "the password would go to example.com:1 without TLS" in line


def test_a_wrong_target_is_told_as_of_others(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """By the option."""
    key = tmp_path / "password"
    key.write_text(PASSWORD)
    line = failed(capsys, "signin", "--email=a@b.co", f"--password-file={key}", "--target=http://a")
    assert "--target" in line


@pytest.mark.parametrize("value", ["backup=ADMIN", "dns:backup", "dns:backup=QUEEN", "=ADMIN"])
def test_a_role_of_a_certificate_has_a_name_of_a_kind(
    capsys: pytest.CaptureFixture[str], value: str
) -> None:
    """And is one."""
    line = failed(capsys, "serve", "--auth", f"--certificate-role={value}")
    assert "is not KIND:NAME=ROLE" in line


def test_a_role_of_a_certificate_needs_authentication(capsys: pytest.CaptureFixture[str]) -> None:
    """It would mean nothing."""
    line = failed(capsys, "serve", "--certificate-role=cn:a=b=ADMIN")
    assert "--certificate-role needs --auth" in line


async def test_a_deletion_counts_in_every_process(database: str) -> None:
    """Two services on one database: the next call is refused by both."""
    settings = ServeSettings(port=0, database=database, auth=AuthSettings(wanted=True))
    async with (
        running_server(settings) as one,
        running_server(settings) as other,
        UserServiceClient(one.addresses[0]) as here,
        UserServiceClient(other.addresses[0]) as there,
    ):
        request = SignInRequest(email="ann@example.com", password=PASSWORD)
        answer = await AuthServiceClient(here.channel).sign_in(request)
        bearer = {"authorization": f"Bearer {answer.access_token}"}
        await there.list_users(ListUsersRequest(), metadata=bearer)
        await here.delete_user(DeleteUserRequest(id=answer.user_id), metadata=bearer)
        with pytest.raises(UnauthenticatedError):
            await there.list_users(ListUsersRequest(), metadata=bearer)
