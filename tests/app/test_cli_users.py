"""``userservice users``: as scripts and people call it, against a real server."""

import asyncio
import json
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_tools import protoc

from userservice import (
    ChatMessage,
    CreateUserRequest,
    DeleteUserRequest,
    GetUserRequest,
    ListUsersRequest,
    ListUsersResponse,
    NotFoundError,
    Role,
    UpdateUserRequest,
    User,
    UserEvent,
    UserEventEventType,
    UserServiceClient,
    WatchUserRequest,
)
from userservice._gen.userservice.v1 import UserServiceBase
from userservice.rpc import Server

Run = Callable[..., subprocess.CompletedProcess[str]]
RunEach = Callable[..., list[subprocess.CompletedProcess[str]]]
Ask = Callable[[Callable[[UserServiceClient], Awaitable[Any]]], Any]
Start = Callable[..., subprocess.Popen[str]]

NOBODY = "00000000-0000-0000-0000-000000000000"
PROTO = Path(__file__).parents[2] / "proto"


def create(ask: Ask, email: str, name: str = "Ann") -> str:
    """Create a user, and return its id."""
    request = CreateUserRequest(email=email, name=name)
    user: User = ask(lambda client: client.create_user(request))
    return user.id


def json_lines(text: str) -> list[dict[str, Any]]:
    """Return the objects of an output, of which each is one line."""
    return [json.loads(line) for line in text.splitlines()]


def assert_mistake(done: subprocess.CompletedProcess[str], status: int, *said: str) -> None:
    """Assert that the command ended with this status and one line that says this."""
    assert done.returncode == status, done
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("userservice: ")
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr


def test_a_user_is_created_read_changed_and_deleted(run: Run) -> None:
    """The commands do to one user what they say, and print it as ProtoJSON."""
    options = ["--name", "Ann", "--role", "admin", "--json"]
    created = run("users", "create", "--email", "life@example.com", *options)
    assert (created.returncode, created.stderr) == (0, "")
    user = json.loads(created.stdout)
    assert list(user) == ["id", "email", "name", "role", "createdAt", "updatedAt"]
    assert (user["email"], user["name"], user["role"]) == ("life@example.com", "Ann", "ROLE_ADMIN")

    picture = "https://example.com/ann.png"
    changed = run("users", "update", user["id"], "--avatar", picture, "--json")
    expected = user | {"avatar": picture, "updatedAt": json.loads(changed.stdout)["updatedAt"]}
    assert json.loads(changed.stdout) == expected
    assert json.loads(run("users", "get", user["id"], "--json").stdout) == expected

    cleared = json.loads(
        run("users", "update", user["id"], "--avatar", "", "--role", "ROLE_user", "--json").stdout
    )
    assert "avatar" not in cleared
    assert (cleared["role"], cleared["name"]) == ("ROLE_USER", "Ann")

    deleted = run("users", "delete", user["id"], "--json")
    assert (deleted.returncode, json.loads(deleted.stdout)) == (0, {"id": user["id"]})
    assert_mistake(run("users", "get", user["id"]), 69, "NOT_FOUND", user["id"])


def test_people_read_fields_and_utc_times(run: Run) -> None:
    """Without --json a user is one field a line, in words."""
    created = run("users", "create", "--email", "people@example.com", "--name", "Zoë [red]x[/]")
    lines = dict(line.split(maxsplit=1) for line in created.stdout.splitlines())
    assert list(lines) == ["id", "email", "name", "avatar", "role", "created", "updated"]
    assert (lines["name"], lines["avatar"], lines["role"]) == ("Zoë [red]x[/]", "-", "USER")
    assert lines["created"].endswith(" UTC")
    assert run("users", "delete", lines["id"]).stdout == f"deleted {lines['id']}\n"


def test_json_is_what_googles_runtime_writes(
    run: Run, ask: Ask, server: Any, tmp_path: Path
) -> None:
    """--json prints what google.protobuf.json_format makes of the same message."""
    user_id = create(ask, "oracle@example.com", "Zoë 😀")
    user = json.loads(run("users", "get", user_id, "--json").stdout)
    descriptors = tmp_path / "descriptors.binpb"
    google = Path(protoc.__file__).parent / "_proto"
    arguments = ["", f"--proto_path={PROTO}", f"--proto_path={google}", "--include_imports"]
    arguments += [f"--descriptor_set_out={descriptors}", "userservice/v1/user_service.proto"]
    assert protoc.main(arguments) == 0
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes()).file:
        pool.Add(file)

    def message(name: str) -> Any:
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"userservice.v1.{name}"))

    service = "/userservice.v1.UserService"
    with grpc.insecure_channel(server.address) as channel:
        request = message("GetUserRequest")(id=user_id)
        get = channel.unary_unary(
            f"{service}/GetUser",
            request_serializer=lambda sent: sent.SerializeToString(),
            response_deserializer=message("User").FromString,
        )
        assert json.loads(json_format.MessageToJson(get(request, timeout=10))) == user

    whole_second = message("User")(role=2)
    whole_second.created_at.FromJsonString("2026-01-01T00:00:00Z")
    whole_second.updated_at.FromJsonString("2026-01-01T00:00:00.100Z")
    ours = User.parse(whole_second.SerializeToString()).to_json()
    assert json.loads(ours) == json_format.MessageToDict(whole_second)


def test_a_list_is_filtered_ordered_and_limited(ask: Ask, run_each: RunEach) -> None:
    """List gives every page of what is asked for, in order, and no more than the limit."""
    for n in range(12):
        create(ask, f"{n}@list.example", f"Name {n:02}")
    command = ["users", "list", "--filter", "email:list.example", "--order-by", "name desc"]
    everything, some, table = run_each(
        [
            [*command, "--json", "--page-size", "5"],
            [*command, "--json", "--limit", "7", "--page-size", "3"],
            command,
        ]
    )
    users = json_lines(everything.stdout)
    assert [user["name"] for user in users] == [f"Name {n:02}" for n in reversed(range(12))]
    assert json_lines(some.stdout) == users[:7]
    header, *lines = table.stdout.splitlines()
    assert header.split() == ["ID", "EMAIL", "NAME", "ROLE", "CREATED"]
    assert [line.split()[0] for line in lines] == [user["id"] for user in users]


def test_a_piped_table_is_plain(ask: Ask, run_each: RunEach) -> None:
    """In a pipe a table has one line a user, however long, and no escape sequence."""
    name = "名 word " * 20 + "[bold]end[/bold] :smile:"
    email = f"long@{'long.' * 20}example"
    create(ask, email, name)
    create(ask, f"a@{'long.' * 20}example", "Ann")
    of_both = ["users", "list", "--filter", "email:long.long", "--order-by", "email desc"]
    both, nobody = run_each([of_both, ["users", "list", "--filter", "email:nowhere.example"]])
    _, long, short = both.stdout.splitlines()
    assert f"  {email}  {name}  USER  20" in long
    assert short.index("  USER  20") == long.index("  USER  20") + name.count("名")
    assert "\x1b" not in both.stdout
    assert nobody.stdout.split() == ["ID", "EMAIL", "NAME", "ROLE", "CREATED"]


def test_a_table_fits_the_terminal(ask: Ask, run_in_terminal: Run) -> None:
    """A terminal gets a table of its width, in which ids and markup stay as they are."""
    name = "A rather long name, which [blue]wraps[/blue] at the edge of a narrow terminal"
    user_id = create(ask, "wide@terminal.example", name)
    command = ["users", "list", "--filter", "email:terminal.example"]
    narrow = run_in_terminal(*command, columns=80).stdout
    _, *lines = narrow.splitlines()
    assert lines[0].startswith(f"{user_id}  wide@terminal.example  A rather")
    assert lines[0].endswith("  USER")
    assert len(lines) > 2
    assert max(map(len, lines)) <= 80
    wide = run_in_terminal(*command, columns=220).stdout
    assert f"{user_id}  wide@terminal.example  {name}  USER  20" in wide


def test_mistakes_are_one_line_and_a_status(run_each: RunEach, tmp_path: Path) -> None:
    """Whatever is wrong with a command is one line on standard error, never a traceback."""
    (tmp_path / "empty").touch()
    (tmp_path / "latin").write_bytes(b"p\xe4ssword\n")
    create_ann = ["create", "--email", "m@example.com", "--name", "Ann"]
    mistakes: list[tuple[list[str], int, str]] = [
        (["get"], 2, "Missing argument 'ID'"),
        (["get", NOBODY], 69, f"NOT_FOUND: there is no user {NOBODY}"),
        (["get", NOBODY, "--target", "a:b:c"], 2, "'--target': 'a:b:c'"),
        (["get", NOBODY, "--target", "127.0.0.1:1"], 78, "cannot reach 127.0.0.1:1"),
        (["get", NOBODY, "--timeout", "nan"], 2, "'nan' is no time"),
        (["get", NOBODY, "--timeout", "0.001"], 68, "DEADLINE_EXCEEDED"),
        (["create", "--name", "Ann"], 2, "Missing option '--email'"),
        ([*create_ann, "--role", "boss"], 2, "'boss' is no role"),
        (["create", "--email", "ann", "--name", ""], 67, "ann@example.com; name: is required"),
        ([*create_ann[:-1], "\udcff"], 2, "not valid UTF-8"),
        ([*create_ann, "--password-file", str(tmp_path / "missing")], 2, "cannot read"),
        ([*create_ann, "--password-file", str(tmp_path / "empty")], 2, "there is no password"),
        ([*create_ann, "--password-file", str(tmp_path / "latin")], 2, "is not UTF-8"),
        (["update", NOBODY], 2, "--name, --avatar or --role"),
        (["list", "--filter", "nonsense"], 67, "filter: at character 1"),
        (["watch", NOBODY], 69, "NOT_FOUND"),
    ]
    outcomes = run_each([["users", *arguments] for arguments, _, _ in mistakes])
    for (_, status, said), done in zip(mistakes, outcomes, strict=True):
        assert_mistake(done, status, said)


def test_a_taken_email_is_already_exists(ask: Ask, run: Run) -> None:
    """Creating a user with an email that another one has ends with status 70."""
    create(ask, "taken@example.com")
    again = run("users", "create", "--email", "Taken@example.com", "--name", "Bob")
    assert_mistake(again, 70, "ALREADY_EXISTS", "Taken@example.com")


def test_delete_goes_on_after_a_failure(ask: Ask, run: Run) -> None:
    """One user that is not there does not keep the others; the status says partly done."""
    first, last = (create(ask, f"delete{n}@example.com") for n in (1, 2))
    done = run("users", "delete", first, NOBODY, last)
    assert (done.returncode, done.stdout) == (1, f"deleted {first}\ndeleted {last}\n")
    assert done.stderr == f"userservice: {NOBODY}: NOT_FOUND: there is no user {NOBODY}\n"
    again = run("users", "delete", first, last)
    assert (again.returncode, again.stdout, len(again.stderr.splitlines())) == (69, "", 2)


def test_watch_ends_when_the_user_is_deleted(ask: Ask, run: Run, start: Start) -> None:
    """A watch prints each change as it happens, and ends with 0 after the last one."""
    user_id = create(ask, "watched@example.com")
    programs, people = start("users", "watch", user_id, "--json"), start("users", "watch", user_id)
    assert programs.stdout
    assert people.stdout
    first = json.loads(programs.stdout.readline())
    assert (first["type"], first["user"]["id"]) == ("EVENT_TYPE_UPDATED", user_id)
    assert people.stdout.readline().endswith("UTC  UPDATED  watched@example.com  Ann  USER\n")
    ask(lambda client: client.update_user(UpdateUserRequest(id=user_id, name="Bea")))
    assert json.loads(programs.stdout.readline())["user"]["name"] == "Bea"
    ask(lambda client: client.delete_user(DeleteUserRequest(id=user_id)))
    rest, stderr = programs.communicate(timeout=10)
    assert [event["type"] for event in json_lines(rest)] == ["EVENT_TYPE_DELETED"]
    assert (programs.returncode, stderr) == (0, "")
    rest, _ = people.communicate(timeout=10)
    assert [line.split()[3] for line in rest.splitlines()] == ["UPDATED", "DELETED"]

    resumed = run("users", "watch", user_id, "--json", "--resume-token", first["resumeToken"])
    events = [(event["type"], event["user"]["name"]) for event in json_lines(resumed.stdout)]
    assert events == [("EVENT_TYPE_UPDATED", "Bea"), ("EVENT_TYPE_DELETED", "Bea")]


def test_a_password_shows_nowhere(
    run: Run, run_each: RunEach, run_in_terminal: Run, server: Any, tmp_path: Path
) -> None:
    """A password is read from a file, a pipe or unseen, and never comes out again."""
    secret, short = "correct horse battery", "staple"
    file = tmp_path / "password"
    file.write_text(f"{secret}\r\nanother line\n")
    command = ["users", "create", "--name", "Ann", "--password-file"]
    rows = f"email,name,password\ns1@secret.example,A,{secret}\ns2@secret.example,A,{short}\n"
    outcomes = run_each(
        [
            [*command, str(file), "--email", "s3@secret.example", "--json"],
            [*command, "-", "--email", "s4@secret.example"],
            [*command, "-", "--email", "s5@secret.example"],
            ["users", "import", "-"],
        ],
        said=["", f"{secret}\n", short, rows],
    )
    assert [done.returncode for done in outcomes] == [0, 0, 67, 1]
    assert "password: must have 8 to 1,024 characters" in outcomes[2].stderr
    asked = (("Password: ", f"{secret}\n"),)
    typed = run_in_terminal(*command, "-", "--email", "s6@secret.example", dialogue=asked)
    assert typed.returncode == 0
    listed = run("users", "list", "--filter", "email:secret.example", "--json")
    assert len(listed.stdout.splitlines()) == 4

    shown = "".join(done.stdout + done.stderr for done in (*outcomes, typed, listed))
    for text in (shown, server.log.read_text()):
        assert secret not in text
        assert short not in text


def test_help_explains_commands_and_statuses(run_each: RunEach) -> None:
    """Help goes to standard output; a group without a command is a mistake that shows it."""
    root, users, creation, nothing, no_command, version = run_each(
        [["--help"], ["users", "-h"], ["users", "create", "-h"], [], ["users"], ["--version"]]
    )
    assert "No option takes the password itself" in creation.stdout
    assert "69 NOT_FOUND" in root.stdout
    for command in ("get", "create", "update", "delete", "list", "watch", "import", "export"):
        assert f"\n  {command} " in users.stdout
    assert (root.returncode, users.returncode, version.returncode) == (0, 0, 0)
    assert version.stdout.startswith("userservice ")
    for bare in (nothing, no_command):
        assert (bare.returncode, bare.stdout) == (2, "")
        assert "Commands:" in bare.stderr


def test_output_that_nobody_takes_is_no_traceback(
    ask: Ask, run_each: RunEach, start: Start
) -> None:
    """A reader that has enough ends the command quietly; a full disk is one line."""
    create(ask, "reader@example.com")
    commands = [
        ["users", "list", "--limit=1"],
        ["users", "list", "--limit=1", "--json"],
        ["users", "export", "--filter=email:reader"],
    ]
    unread = [start(*command) for command in commands]
    for process in unread:
        assert process.stdout
        process.stdout.close()
        process.stdout = None
    for process in unread:
        _, stderr = process.communicate(timeout=10)
        assert (process.returncode, stderr) == (0, "")
    with Path("/dev/full").open("w") as full:
        for done in run_each(commands, stdout=full):
            assert (done.returncode, done.stderr) == (2, "userservice: No space left on device\n")


class HostileService(UserServiceBase):
    """Puts into every text what would act on a terminal."""

    TEXT = "\x1b]0;owned\x07\x9b31m[red]x[/red]\u202eevil\nuserservice: fake"
    USER = User(id=NOBODY, email=TEXT, name=TEXT, avatar=TEXT, role=Role(7))

    async def get_user(self, message: GetUserRequest) -> User:
        """Return such a user, or fail with such a message."""
        if message.id:
            return self.USER
        raise NotFoundError(self.TEXT)

    async def list_users(self, message: ListUsersRequest) -> ListUsersResponse:
        """Return one page of such users."""
        return ListUsersResponse(users=[self.USER])

    async def watch_user(self, message: WatchUserRequest) -> AsyncGenerator[UserEvent, None]:
        """Send an event of such a user, of an unknown type."""
        yield UserEvent(type=UserEventEventType(9), user=self.USER)

    async def chat(self, messages: AsyncIterator[ChatMessage]) -> AsyncGenerator[ChatMessage, None]:
        """Say such a text."""
        yield ChatMessage(sender_id=self.TEXT, text=self.TEXT)


async def test_what_a_server_sends_cannot_act_on_a_terminal(run_each: RunEach) -> None:
    """Control characters from a server come out as escapes, and add no line."""
    commands = {
        ("users", "get", NOBODY): 7,
        ("users", "get", ""): 1,
        ("users", "list"): 2,
        ("users", "watch", NOBODY): 1,
        ("chat", "--as", "ann"): 1,
    }
    hostile = Server([HostileService()])
    await hostile.start("127.0.0.1", 0)
    try:
        target = hostile.addresses[0]
        outcomes = await asyncio.to_thread(run_each, list(commands), target=target)
    finally:
        hostile.close()
        await hostile.wait_closed()
    for lines, done in zip(commands.values(), outcomes, strict=True):
        shown = done.stdout + done.stderr
        assert len(shown.splitlines()) == lines
        assert r"\x1b]0;owned\x07\x9b31m[red]x[/red]\u202eevil\nuserservice: fake" in shown
        assert not set(shown) & set("\x1b\x07\x9b\u202e")
