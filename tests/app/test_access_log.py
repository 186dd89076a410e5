"""The access log of the service: lines on standard error, in the two formats."""

import asyncio
import functools
import json
import pickle
import re
import shlex
import signal
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.app.processes import PATIENCE_S, Processes, address, stopped
from tests.app.test_auth import database_of, new_user, signed_for

from userservice import (
    GetUserRequest,
    NotFoundError,
    ResourceExhaustedError,
    RpcError,
    UserServiceClient,
)
from userservice._gen.grpc.health.v1 import HealthCheckRequest, HealthStub
from userservice.app import logs
from userservice.app.access_log import AccessLogSettings, access_log
from userservice.app.cli.serve import serve
from userservice.app.errors import ServeError
from userservice.app.logs import LogFormat, line_renderer
from userservice.app.own_middleware import MiddlewareError, load_middleware
from userservice.app.rates import RateSettings
from userservice.app.serve import ServeSettings, running_server
from userservice.rpc import UnimplementedError
from userservice.rpc.details import RetryInfo
from userservice.rpc.middleware.access_log import clean
from userservice.rpc.middleware.line_writer import LineWriter
from userservice.rpc.middleware.rates import Rate
from userservice.rpc.testing import ChannelFor

NOBODY = "00000000-0000-4000-8000-000000000000"
ACCESS = "userservice.access"


def get_nobody(target: str, times: int, **metadata: str) -> list[str]:
    """Ask for a user who is not there, and return the names that the calls had."""

    async def ask() -> list[str]:
        names = []
        async with UserServiceClient(target, timeout_s=PATIENCE_S) as client:
            for _ in range(times):
                with pytest.raises(NotFoundError) as caught:
                    await client.get_user(
                        GetUserRequest(id=NOBODY), metadata=list(metadata.items())
                    )
                names.append(str(caught.value.trailing_metadata["x-request-id"]))
        return names

    return asyncio.run(ask())


def test_json_has_an_object_for_each_call(processes: Processes) -> None:
    """Like every other line of the log, and all of them are there when the service has ended."""
    server = processes.start(
        *("--port=0", "--database=memory:", "--log-format=json", "--access-log"),
        USERSERVICE_ACCESS_LOG_METADATA="tenant",
    )
    names = get_nobody(address(server), 300, tenant="a\u00adb\u0085c", authorization="s3cret")
    _, stderr = stopped(server, signal.SIGTERM)
    lines = [json.loads(line) for line in stderr.splitlines()]
    calls = [line for line in lines if line["logger"] == ACCESS]
    assert [call["request_id"] for call in calls] == names
    assert {call["status"] for call in calls} == {"NOT_FOUND"}
    assert {call["metadata.tenant"] for call in calls} == {r"a\xadb\x85c"}
    assert set(calls[0]) > {"timestamp", "level", "event", "peer", "duration_ms", "user_agent"}
    assert "s3cret" not in stderr


@given(st.dictionaries(st.from_regex(r"[a-z.-]{1,8}", fullmatch=True), st.text(max_size=60)))
def test_a_text_line_says_what_was_said_and_no_more(said: dict[str, str]) -> None:
    """Nobody can forge a line or a value by what is in another one."""
    cleaned = {f"x{name}": clean(text) for name, text in said.items()}
    line = line_renderer(ACCESS, LogFormat.TEXT)("info", "call", dict(cleaned))
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert line[:-1].isprintable()
    rest = line.partition(f"[{ACCESS}] ")[2][:-1]
    for name, text in cleaned.items():
        value = text if re.fullmatch(r"[^\s=\"'\\]+", text) else repr(text)
        assert rest.startswith(f"{name}={value}")
        rest = rest[len(f"{name}={value}") :].removeprefix(" ")
    assert rest == ""


def test_lines_are_written_in_pieces_that_are_not_mixed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A pipe takes 4,096 bytes as a whole: several processes may write to the same one."""
    lines = [b"%d " % number + b"x" * 500 + b"\n" for number in range(100)]
    long = b"y" * 10_000 + b"\n"
    pieces = list(logs._pieces(b"".join([*lines, long])))
    assert b"".join(pieces) == b"".join([*lines, long])
    assert max(map(len, pieces)) <= 4_096
    assert all(piece.endswith(b"\n") for piece in pieces[:12])
    with (tmp_path / "log").open("w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        logs.write_to_stderr(b"".join(lines))
    assert (tmp_path / "log").read_bytes() == b"".join(lines)


async def test_how_many_lines_were_dropped_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning, in the same format."""
    written: list[bytes] = []
    small = functools.partial(LineWriter, waiting_max=0)
    monkeypatch.setattr("userservice.app.access_log.write_to_stderr", written.append)
    monkeypatch.setattr("userservice.app.access_log.LineWriter", small)
    settings = AccessLogSettings(on=True, log_format=LogFormat.JSON)
    async with access_log(settings) as middleware, ChannelFor([], middleware=middleware) as channel:
        for _ in range(2):
            with pytest.raises(UnimplementedError):
                await HealthStub(channel).check(HealthCheckRequest())
    [line] = map(json.loads, written)
    assert (line["level"], line["count"]) == ("warning", 2)
    assert line["event"] == "lines of the access log were dropped"


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--access-log-metadata=authorization", "authorization is a secret, which is never"),
        ("--access-log-sample=0", "0 is not in the range x>=1"),
        ("--rate-limit=100", "'100' is no rate; one is like /userservice.v1.UserService/"),
        ("--concurrency-limit=0", "0 is not in the range x>=1"),
        ("--max-loop-lag=0", "0.0 is not in the range x>0"),
    ],
)
def test_options_that_are_none_are_refused(argument: str, said: str) -> None:
    """What is wrong stands in the text."""
    with pytest.raises(click.UsageError) as caught:
        serve.make_context("serve", [argument])
    assert said in caught.value.format_message()


def test_settings_can_be_handed_to_workers() -> None:
    """They are pickled."""
    settings = ServeSettings(
        access_log=AccessLogSettings(on=True, log_format=LogFormat.JSON, metadata=("x-tenant",)),
        rates=RateSettings((Rate("*", 1, 1),), calls_under_way=5, max_lag_s=0.2),
        middleware=("mine:Mine",),
    )
    assert pickle.loads(pickle.dumps(settings)) == settings


async def test_a_rate_for_nothing_is_refused() -> None:
    """When it is known what is served."""
    rates = RateSettings((Rate("/a.B/C", 1, 1),))
    with pytest.raises(ServeError, match=r"a rate is for /a\.B/C, which is not served"):
        async with running_server(ServeSettings(port=0, database="memory:", rates=rates)):
            pass


MINE = """
from userservice.rpc import Call
from userservice.rpc.middleware import Middleware, Outcome

class Other: pass

def function(): pass

class Needy(Middleware):
    def __init__(self, what): pass

class Mine(Middleware):
    def ended(self, call: Call, outcome: Outcome) -> None:
        print("ended", call.method, outcome.status.name, flush=True)
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("counting", "'counting' names no middleware; write module:Class"),
        (":Class", "':Class' names no middleware"),
        ("nobody:None", "nobody cannot be imported: ModuleNotFoundError: No module named 'nobody'"),
        ("broken:Broken", "broken cannot be imported: ZeroDivisionError: division by zero"),
        ("mine:Nothing", "mine has no Nothing"),
        ("mine:Other", "mine:Other is no Middleware"),
        ("mine:function", "mine:function is no Middleware"),
        ("mine:Needy", "mine:Needy cannot be made: TypeError: "),
    ],
)
def test_what_is_no_middleware_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    """Whatever its module does when it is imported."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    with pytest.raises(MiddlewareError) as caught:
        load_middleware([name])
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_server_without_its_middleware_does_not_start(processes: Processes) -> None:
    """It says so in one line."""
    line = processes.refused("--port=0", "--database=memory:", "--middleware=nobody:None")
    assert "nobody cannot be imported" in line


def test_limits_and_the_operator_s_own_middleware_and_text(processes: Processes) -> None:
    """By variables: semicolons between rates, blanks between names from the working folder."""
    (processes.folder / "mine.py").write_text(MINE)
    server = processes.start(
        *("--port=0", "--database=memory:", "--concurrency-limit=5", "--max-loop-lag=10"),
        USERSERVICE_RATE_LIMIT="*=1000/s; /userservice.v1.UserService/GetUser=1/h burst 2;",
        USERSERVICE_MIDDLEWARE="mine:Mine mine:Mine",
        USERSERVICE_ACCESS_LOG="1",
        USERSERVICE_ACCESS_LOG_SAMPLE="1000000",
    )

    async def ask(target: str) -> float:
        async with UserServiceClient(target, timeout_s=PATIENCE_S) as client:
            for _ in range(2):
                with pytest.raises(NotFoundError):
                    await client.get_user(GetUserRequest(id=NOBODY))
            with pytest.raises(ResourceExhaustedError) as caught:
                await client.get_user(GetUserRequest(id=NOBODY))
        retry = caught.value.detail(RetryInfo)
        assert retry is not None
        assert retry.retry_delay is not None
        return retry.retry_delay.total_seconds()

    assert 3_500 < asyncio.run(ask(address(server))) <= 3_600
    stdout, stderr = stopped(server, signal.SIGTERM)
    assert [line.split()[-1] for line in stdout.splitlines()] == (
        ["NOT_FOUND"] * 4 + ["RESOURCE_EXHAUSTED"] * 2
    )
    calls = [line for line in stderr.splitlines() if f"[{ACCESS}]" in line]
    for call, status in zip(calls, ["NOT_FOUND"] * 2 + ["RESOURCE_EXHAUSTED"], strict=True):
        assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[info     \] call +\[", call)
        method = "method=/userservice.v1.UserService/GetUser"
        assert f" {method} status={status} duration_ms=" in call


def test_who_is_known_has_a_rate_of_its_own_and_is_in_the_log(processes: Processes) -> None:
    """Whoever is not is limited by address: tokens cannot be tried for free."""
    server = processes.start(
        *("--port=0", "--auth", f"--database={database_of(processes.folder)}"),
        *("--access-log", "--log-format=json", "--rate-limit=*=1/h burst 3"),
    )
    target = address(server)
    ids = [new_user(processes.folder, f"{name}@example.com") for name in ("ann", "bob")]
    tokens = [signed_for(processes.folder, user_id) for user_id in ids]

    async def ask(token: str) -> None:
        async with UserServiceClient(target, token=token, timeout_s=PATIENCE_S) as client:
            for _ in range(4):
                with suppress(RpcError):  # the log says which
                    await client.get_user(GetUserRequest(id=ids[0]))

    async def ask_all() -> None:
        for token in (*tokens, "made-up"):
            await ask(token)

    asyncio.run(ask_all())
    _, stderr = stopped(server, signal.SIGTERM)
    lines = [json.loads(line) for line in stderr.splitlines()]
    calls = [line for line in lines if line["logger"] == ACCESS]
    assert [call.get("subject") for call in calls] == [ids[0]] * 4 + [ids[1]] * 4 + [None] * 4
    limited = [call["status"] == "RESOURCE_EXHAUSTED" for call in calls]
    assert limited == [False, False, False, True] * 3
    assert {call["status"] for call in calls[8:11]} == {"UNAUTHENTICATED"}
    assert not any(token in stderr for token in tokens)


def test_quotes_are_what_a_shell_reads() -> None:
    """A line of plain words is; for people who cut it into pieces."""
    line = line_renderer(ACCESS, LogFormat.TEXT)("info", "call", {"a": "b c", "d": 1})
    assert shlex.split(line)[-2:] == ["a=b c", "d=1"]


def test_a_line_is_what_json_makes_of_it() -> None:
    """Text of any kind, and numbers, are in a line as Python's own encoder writes them."""
    said = {"text": 'é "\\ \U0001f600 \x00', "whole": -3, "real": 0.125, "small": 1e-07}
    line = line_renderer("bench", LogFormat.JSON)("info", "call", dict(said))
    assert line == json.dumps(json.loads(line)) + "\n"
    assert json.loads(line).items() >= said.items()
