"""The service that asks who calls: as a process, with its command line, and where it must ask."""

import asyncio
import datetime
import json
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from joserfc import jwk, jwt
from tests import waiting
from tests.app.processes import Processes, address, stopped
from tests.certificates import Authority, Files
from tests.rpc.test_jwt import AUDIENCE, ISSUER
from tests.rpc.test_public_keys import KeyServer, entry, running_key_server
from tests.rpc.test_public_keys import signed as signed_by

from userservice import (
    ChatMessage,
    GetUserRequest,
    ListUsersRequest,
    UnauthenticatedError,
    UserServiceClient,
    WatchUserRequest,
    client_context,
)
from userservice._gen.grpc.health.v1 import HealthCheckRequest, HealthStub
from userservice.app import listeners
from userservice.app.auth import AuthError, AuthSettings, require_authentication
from userservice.app.cli import userservice as command_line
from userservice.app.errors import ServeError
from userservice.app.serve import (
    ServeSettings,
    TlsFiles,
    listening_sockets,
    running_server,
)
from userservice.rpc.details import ErrorInfo
from userservice.users.errors import StorageUnavailableError
from userservice.users.model import NewUser, Role
from userservice.users.signing_keys import SigningKeys
from userservice.users.storage.sqlite import SqliteRepository
from userservice.users.storage.urls import open_repository

MEMORY = ("--port=0", "--database=memory:")
PATIENCE_S = 20
until = partial(waiting.until, patience_s=PATIENCE_S)  # processes have to start


@pytest.fixture
def key_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyServer]:
    """A server of keys."""
    with running_key_server(monkeypatch) as server:
        yield server


# Where nobody need say who calls


def bound(*addresses: str) -> Iterator[list[socket.socket]]:
    """Sockets that are bound to these addresses."""
    with ExitStack() as opened:
        sockets = []
        for host in addresses:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            if host == "unix":
                family = socket.AF_UNIX
            sock = opened.enter_context(socket.socket(family))
            try:
                sock.bind("" if host == "unix" else (host, 0))
            except OSError:
                pytest.skip(f"this machine has no {host}")
            sockets.append(sock)
        yield sockets


@pytest.fixture
def sockets(request: pytest.FixtureRequest) -> Iterator[list[socket.socket]]:
    """Sockets that are bound to the addresses of the test's parameter."""
    yield from bound(*request.param)


@pytest.mark.parametrize(
    "sockets",
    [["127.0.0.1"], ["127.5.5.5"], ["::1"], ["unix"], ["127.0.0.1", "::1", "unix"]],
    indirect=True,
    ids=",".join,
)
def test_programs_of_this_machine_need_not_say(sockets: list[socket.socket]) -> None:
    """Loopback and Unix sockets: no other machine reaches them."""
    require_authentication(sockets, AuthSettings(), mutual_tls=False)


@pytest.mark.parametrize(
    "sockets",
    [["0.0.0.0"], ["::"], ["127.0.0.1", "0.0.0.0"], ["unix", "::"]],
    indirect=True,
    ids=",".join,
)
def test_others_must(sockets: list[socket.socket]) -> None:
    """One address that they reach is enough; the line says what to do."""
    with pytest.raises(AuthError, match="give --auth, or --allow-unauthenticated, or --host"):
        require_authentication(sockets, AuthSettings(), mutual_tls=False)
    require_authentication(sockets, AuthSettings(wanted=True), mutual_tls=False)
    require_authentication(sockets, AuthSettings(left_out=True), mutual_tls=False)
    require_authentication(sockets, AuthSettings(), mutual_tls=True)


def test_it_is_the_address_that_counts(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, server_files: Files
) -> None:
    """And not the name that was given for it; sockets of systemd have none."""
    monkeypatch.setattr(listeners, "_addresses_of", lambda _: [(socket.AF_INET, "0.0.0.0")])
    open_to_all = ServeSettings(host="localhost", port=0)
    with pytest.raises(ServeError, match=r"whoever reaches 0\.0\.0\.0:"):
        enter(open_to_all)
    with socket.create_server(("0.0.0.0", 0)) as passed:
        monkeypatch.setattr(listeners, "passed_sockets", lambda: [passed.dup()])
        with pytest.raises(ServeError, match=r"whoever reaches 0\.0\.0\.0:"):
            enter(ServeSettings(host="127.0.0.1", port=0))
        tls = TlsFiles(str(server_files.cert), str(server_files.key))
        with pytest.raises(ServeError, match="could do everything"):
            enter(ServeSettings(tls=tls))
        enter(ServeSettings(tls=TlsFiles(tls.cert, tls.key, str(authority.file))))
        enter(ServeSettings(auth=AuthSettings(wanted=True)))


def enter(settings: ServeSettings) -> None:
    """Open the sockets of a server, and close them."""
    with listening_sockets(settings):
        pass


def test_a_server_that_is_open_to_all_does_not_start(processes: Processes) -> None:
    """It says so in one line."""
    line = processes.refused("--host=0.0.0.0", *MEMORY)
    assert "whoever reaches 0.0.0.0:" in line


def test_options_that_do_not_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Are one line."""
    # What is said of keys comes after the logs are set up, which are those of this process here.
    monkeypatch.setattr("userservice.app.cli.serve.configure_logs", lambda *_settings: None)
    file = tmp_path / "key.pem"
    file.write_text("-----BEGIN PUBLIC KEY-----\n")
    named = ("--jwt-issuer=us", "--jwt-audience=users")
    for options, words in [
        (("--auth", "--allow-unauthenticated"), "do not go together"),
        (("--jwks-url=https://x.example/",), "need --auth"),
        (("--jwt-issuer=us",), "need --auth"),
        (("--auth", "--jwt-issuer=us"), "need such keys"),
        (("--auth", f"--jwt-public-key={file}", "--jwt-issuer=us"), "need both"),
        (("--auth", *named, *["--jwt-public-key=x"] * 9), "8 times at most"),
        (("--auth", *named, f"--jwt-public-key={tmp_path}/none"), "No such file"),
        (("--auth", *named, f"--jwt-public-key={file}"), "cannot use the key in"),
        (("--auth", *named, "--jwks-url=http://x.example/"), "by https only"),
        (("--auth", "--jwt-leeway=-1"), "--jwt-leeway"),
    ]:
        outcome = CliRunner().invoke(command_line, ["serve", *MEMORY, *options])
        assert outcome.exit_code != 0
        assert words in outcome.output, outcome.output
        assert "Traceback" not in outcome.output


# A server that asks


def database_of(folder: Path) -> str:
    """The URL of a database in a folder."""
    return f"sqlite:///{folder}/users.db"


def new_user(folder: Path, email: str = "Ann@example.com", role: Role = Role.USER) -> str:
    """Create a user behind the server's back, and return the id."""

    async def create() -> str:
        repository = open_repository(database_of(folder), lambda _changes: None)
        [user] = await repository.create([NewUser(email, "Ann", role)])
        await repository.close()
        assert user is not None
        return user.id

    return asyncio.run(create())


def signed_for(folder: Path, user_id: str) -> str:
    """A token as a sign-in gives it."""

    async def issue() -> str:
        repository = open_repository(database_of(folder), lambda _changes: None)
        keys = SigningKeys(repository)
        await keys.read()
        await repository.close()
        return keys.issue(user_id)

    return asyncio.run(issue())


def command(*arguments: str, **environment: str) -> str:
    """Run a command line in this process, and return what it prints."""
    outcome = CliRunner(env=environment).invoke(command_line, arguments)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output.strip()


async def reason(client: UserServiceClient, user_id: str) -> str:
    """Call, and return why that is not possible; empty where it is."""
    try:
        assert (await client.get_user(GetUserRequest(id=user_id))).name == "Ann"
    except UnauthenticatedError as error:
        info = error.detail(ErrorInfo)
        assert info is not None
        assert info.domain == "userservice.v1"
        return info.reason
    return ""


def test_a_server_asks_who_calls(processes: Processes) -> None:
    """All methods but health and reflection; tokens come from the database, while it runs."""
    database = database_of(processes.folder)
    process = processes.start("--auth", "--port=0", f"--database={database}", "--log-level=debug")
    target = address(process)
    ann = new_user(processes.folder)
    text = command("tokens", "create", "ann@EXAMPLE.com", "--token-name=ci", "--database", database)
    signed = signed_for(processes.folder, ann)
    [token] = [
        json.loads(line)
        for line in command("tokens", "list", "--json", f"--database={database}").splitlines()
    ]

    async def call() -> None:
        async with UserServiceClient(target) as client:
            await HealthStub(client.channel).check(HealthCheckRequest())
            assert await reason(client, ann) == "MISSING_CREDENTIALS"
            with pytest.raises(UnauthenticatedError):
                await client.list_users(ListUsersRequest())
            with pytest.raises(UnauthenticatedError):
                await anext(aiter(client.watch_user(WatchUserRequest(id=ann))))
            with pytest.raises(UnauthenticatedError):
                await anext(aiter(client.chat([ChatMessage(sender_id="a", text="b")])))
        async with (
            UserServiceClient(target, token=text) as program,
            UserServiceClient(target, token=signed) as user,
        ):
            assert await reason(program, ann) == await reason(user, ann) == ""
            watch = aiter(user.watch_user(WatchUserRequest(id=ann)))
            await anext(watch)
            assert text not in repr(program)
            # At once: there is no word of it in any memory.
            await asyncio.to_thread(
                command, "tokens", "revoke", token["id"], f"--database={database}"
            )
            assert await reason(program, ann) == "INVALID_TOKEN"
            # A key that is retired verifies; one that is forgotten does so for a second.
            await asyncio.to_thread(command, "keys", "rotate", f"--database={database}")
            newer = await asyncio.to_thread(signed_for, processes.folder, ann)
            async with UserServiceClient(target, token=newer) as later:
                assert await reason(later, ann) == await reason(user, ann) == ""
                await asyncio.to_thread(
                    command, "keys", "rotate", "--forget-old", f"--database={database}"
                )
                began = time.monotonic()
                await until(lambda: reason(user, ann))
                assert time.monotonic() - began < 5
                assert await reason(user, ann) == "INVALID_TOKEN"
                assert await reason(later, ann) == "INVALID_TOKEN"

    asyncio.run(call())
    _, log = stopped(process, signal.SIGTERM)
    for secret in (text, text[21:], signed, signed.rpartition(".")[2]):
        assert secret not in log
    assert "Traceback" not in log


def test_a_token_is_good_after_a_restart(processes: Processes) -> None:
    """Its key is in the database."""
    database = database_of(processes.folder)
    ann = new_user(processes.folder)
    signed = signed_for(processes.folder, ann)
    process = processes.start("--port=0", f"--database={database}", USERSERVICE_AUTH="true")
    target = address(process)

    async def call() -> None:
        async with UserServiceClient(target, token=signed) as client:
            assert await reason(client, ann) == ""

    asyncio.run(call())
    stopped(process, signal.SIGTERM)


def test_each_worker_asks_who_calls(processes: Processes) -> None:
    """They share keys and tokens, by the database; a token that is revoked is so in each."""
    database = database_of(processes.folder)
    ann = new_user(processes.folder)
    process = processes.start("--auth", "--workers=2", "--port=0", f"--database={database}")
    target = address(process)
    text = command("tokens", "create", ann, "--token-name=ci", f"--database={database}")
    tokens = [None, text, signed_for(processes.folder, ann)]

    async def reasons() -> set[tuple[str, ...]]:
        """Call on several connections, which the workers share."""
        found = set()
        for _ in range(6):
            answers = []
            for token in tokens:
                async with UserServiceClient(target, token=token) as client:
                    answers.append(await reason(client, ann))
            found.add(tuple(answers))
        return found

    assert asyncio.run(reasons()) == {("MISSING_CREDENTIALS", "", "")}
    command("tokens", "revoke", text[4:20], f"--database={database}")
    assert asyncio.run(reasons()) == {("MISSING_CREDENTIALS", "INVALID_TOKEN", "")}
    stopped(process, signal.SIGTERM)


def test_tokens_of_others_and_certificates(
    processes: Processes, authority: Authority, server_files: Files
) -> None:
    """Side by side with the server's own; over TLS, where a certificate says who calls."""
    ann = new_user(processes.folder)
    key = jwk.ECKey.generate_key("P-256")
    file = processes.folder / "key.pem"
    file.write_bytes(key.as_pem(private=False))
    process = processes.start(
        *("--auth", "--port=0", f"--database={database_of(processes.folder)}"),
        *(f"--jwt-public-key={file}", "--jwt-issuer=https://us.example", "--jwt-audience=users"),
        *(f"--tls-cert={server_files.cert}", f"--tls-key={server_files.key}"),
        *(f"--tls-client-ca={authority.file}", "--certificate-role=email:me@example.com=MODERATOR"),
    )
    target = address(process)
    me = authority.sign("me", "me@example.com")
    tls = client_context(authority.file, me.cert, me.key)
    claims = {"iss": "https://us.example", "aud": "users", "sub": ann}
    good, foreign = (
        jwt.encode({"alg": "ES256"}, {**claims, "aud": aud, "exp": int(time.time()) + 60}, key)
        for aud in ("users", "others")
    )

    async def call() -> None:
        for token, expected in (
            (None, ""),
            (good, ""),
            (signed_own, ""),
            (foreign, "INVALID_TOKEN"),
            ("ust_" + "0" * 16 + "_" + "A" * 43, "INVALID_TOKEN"),
        ):
            async with UserServiceClient(target, tls=tls, token=token) as client:
                assert await reason(client, ann) == expected

    signed_own = signed_for(processes.folder, ann)
    asyncio.run(call())
    stopped(process, signal.SIGTERM)


async def test_keys_are_fetched_where_the_settings_say(key_server: KeyServer) -> None:
    """In the same way, with an issuer's keys at a URL."""
    key_server.publish(entry("ES256", "one"))
    auth = AuthSettings(wanted=True, jwks_url=key_server.url, issuer=ISSUER, audience=AUDIENCE)
    async with running_server(ServeSettings(port=0, database="memory:", auth=auth)) as server:
        # Who has signed it is known, and of whom it tells is none; the other's key is not there.
        for key, told in (("ES256", "no user of this service"), ("RS256", "token")):
            token = signed_by(key, kid="one")
            async with UserServiceClient(server.addresses[0], token=token) as client:
                with pytest.raises(UnauthenticatedError, match=told):
                    await client.get_user(GetUserRequest(id=str(uuid.UUID(int=1))))
    assert key_server.fetches == 1


async def test_a_database_that_gives_no_key_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server does not start."""

    async def fails(_: SqliteRepository) -> None:
        raise StorageUnavailableError("gone")

    monkeypatch.setattr(SqliteRepository, "signing_keys", fails)
    auth = AuthSettings(wanted=True)
    with pytest.raises(ServeError, match="the database cannot be used: gone"):
        async with running_server(ServeSettings(port=0, database="memory:", auth=auth)):
            pass


# The command line


def test_a_command_says_who_calls(processes: Processes, tmp_path: Path) -> None:
    """By a file or a variable, never by an option: others could read it."""
    database = database_of(processes.folder)
    process = processes.start("--auth", "--port=0", f"--database={database}")
    target = f"--target={address(process)}"
    ann = new_user(processes.folder)
    text = command("tokens", "create", ann, "--token-name=ci", f"--database={database}")
    file = tmp_path / "token"
    file.write_text(f"{text}\nmore\n")
    get = ("users", "get", ann, "--json", target)
    assert json.loads(command(*get, f"--token-file={file}"))["name"] == "Ann"
    assert json.loads(command(*get, USERSERVICE_TOKEN=text))["name"] == "Ann"
    as_file = {"USERSERVICE_TOKEN": "wrong", "USERSERVICE_TOKEN_FILE": str(file)}
    assert json.loads(command(*get, **as_file))["name"] == "Ann"
    assert command("chat", target, f"--token-file={file}") == ""
    outcome = CliRunner(env={"USERSERVICE_TOKEN": ""}).invoke(command_line, get)
    assert isinstance(outcome.exception, UnauthenticatedError)
    stopped(process, signal.SIGTERM)


@pytest.mark.parametrize(
    ("arguments", "token", "words"),
    [
        (["--token-file=/no/such"], "", "cannot read /no/such"),
        (["--token-file=-"], "", "not standard input"),
        ([], "two words", "one word of letters"),
        (["--target=users.example:1"], "good", "without TLS"),
        (["--target=192.0.2.1:1"], "good", "without TLS"),
    ],
    ids=["no file", "standard input", "no token", "name", "address"],
)
def test_a_token_that_cannot_be_sent(arguments: list[str], token: str, words: str) -> None:
    """Is one line, and nothing is sent; the token is not in it."""
    line = ["users", "list", *arguments]
    outcome = CliRunner(env={"USERSERVICE_TOKEN": token}).invoke(command_line, line)
    assert outcome.exit_code in {1, 2}
    assert words in outcome.output
    assert not token or token not in outcome.output


def test_tokens_are_listed_and_revoked(tmp_path: Path) -> None:
    """With all that is known of them, but for what is secret."""
    ann = new_user(tmp_path)
    database = f"--database={database_of(tmp_path)}"
    text = command("tokens", "create", ann, "--token-name=for a day", "--expires-in=1", database)
    other = command("tokens", "create", ann, "--token-name=for ever", database)
    listed = command("tokens", "list", database)
    head, *rows = listed.splitlines()
    assert head.split() == ["ID", "NAME", "OWNER", "CREATED", "EXPIRES", "USED"]
    assert [text[4:20], other[4:20]] == [row.split()[0] for row in rows]
    assert text[21:] not in listed
    [day, ever] = map(json.loads, command("tokens", "list", "--json", database).splitlines())
    assert day["name"] == "for a day"
    expires_in = datetime.datetime.fromisoformat(day["expiresAt"]) - datetime.datetime.now(
        datetime.UTC
    )
    assert 0.9 < expires_in / datetime.timedelta(days=1) <= 1
    assert ever.keys() == {"id", "name", "owner", "createdAt"}
    some = CliRunner().invoke(
        command_line, ["tokens", "revoke", day["id"], "0" * 16, database], standalone_mode=False
    )
    assert some.return_value == 1
    assert f"revoked {day['id']}" in some.output
    assert f"there is no token {'0' * 16}" in some.output
    none = CliRunner().invoke(
        command_line, ["tokens", "revoke", day["id"], database], standalone_mode=False
    )
    assert none.return_value == 2
    assert len(command("tokens", "list", database).splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tokens", "create", "nobody", "--token-name=x"], "there is no user nobody"),
        (["tokens", "create", "no@body.example", "--token-name=x"], "there is no user no@body"),
        (["tokens", "create", "nobody", "--token-name= "], "a line of 1 to 100"),
        (["tokens", "create", "nobody", "--token-name=a\nb"], "a line of 1 to 100"),
        (["tokens", "create", "nobody", f"--token-name={'x' * 101}"], "a line of 1 to 100"),
        (["tokens", "create", "nobody", "--token-name=x", "--expires-in=0"], "--expires-in"),
        (["tokens", "list", "--database=memory:"], "in memory belongs to the process"),
        (["tokens", "list", "--database=sqlite:///no/such.db"], "there is no file"),
        (["keys", "rotate", "--database=sqlite:///no/such.db"], "there is no file"),
    ],
    ids=str,
)
def test_mistakes_are_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    """And change nothing."""
    new_user(tmp_path)
    environment = {"USERSERVICE_DATABASE": database_of(tmp_path)}
    outcome = CliRunner(env=environment).invoke(command_line, arguments)
    assert outcome.exit_code != 0
    assert words in outcome.output
    assert "Traceback" not in outcome.output
