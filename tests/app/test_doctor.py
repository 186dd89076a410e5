"""``userservice doctor``: what it says of servers of many kinds, on real sockets."""

import asyncio
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.app import strange_servers as strange
from tests.certificates import Authority, Files
from tests.rpc.peers import Stock

from userservice.app.doctor.examination import CALLS_MAX, Question, Tls, examine
from userservice.app.doctor.findings import Finding, Mark, Step
from userservice.rpc import Server
from userservice.rpc.tls import ServerTls, client_context

pytestmark = pytest.mark.once

SHORT_S = 0.5  # for servers that never answer
LONG_S = 10.0  # for all others, on a machine that is busy
SERVING = b"\x08\x01"
NOT_SERVING = b"\x08\x02"

Serving = AbstractAsyncContextManager[str]


async def examined(address: str, **options: Any) -> list[Finding]:
    """Return all findings about an address."""
    options = {"timeout_s": LONG_S} | options
    return [found async for found in examine(Question(address, **options))]


def wrong(findings: list[Finding]) -> list[str]:
    """Return the signs of what is not well."""
    return [found.sign for found in findings if found.mark in (Mark.WARN, Mark.FAIL)]


def the(sign: str, findings: list[Finding]) -> Finding:
    """Return the one finding of this sign."""
    [found] = [found for found in findings if found.sign == sign]
    return found


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    """The doctor leaves nothing behind."""
    before = asyncio.all_tasks()
    yield
    for _ in range(100):
        if asyncio.all_tasks() <= before | {asyncio.current_task()}:
            return
        await asyncio.sleep(0)
    pytest.fail(f"tasks are left: {asyncio.all_tasks() - before}")


# --- Our own server


async def test_a_healthy_server(address: str) -> None:
    """Every step is well, and says what it saw."""
    findings = await examined(address, method="/userservice.v1.UserService/ListUsers")
    assert wrong(findings) == []
    assert [found.step for found in findings] == [
        step for step in Step if step not in (Step.CERTIFICATE, Step.ALPN)
    ]
    settings = the("http2", findings).facts["settings"]
    assert settings["max_concurrent_streams"] == 100
    assert the("serving", findings).facts["statuses"] == {"userservice.v1.UserService": "SERVING"}
    assert "userservice.v1.UserService" in the("reflection", findings).facts["services"]
    latency = the("latency", findings)
    assert latency.facts["count"] == CALLS_MAX
    assert latency.facts["kind"] == "health checks"
    assert 0 < latency.facts["p50_ms"] <= latency.facts["p99_ms"] <= latency.facts["max_ms"]
    assert the("method-ok", findings).text.startswith("userservice.v1.UserService/ListUsers")


@pytest.mark.parametrize(
    ("method", "sign", "said"),
    [
        ("GetUser", "method-answers", "INVALID_ARGUMENT"),
        ("NoUser", "method-missing", "UNIMPLEMENTED"),
        ("BatchCreateUsers", "method-ok", "OK"),
    ],
)
async def test_one_method(address: str, method: str, sign: str, said: str) -> None:
    """It is called with an empty message, and its status says whether it is there."""
    findings = await examined(address, method=f"/userservice.v1.UserService/{method}")
    assert said in the(sign, findings).text
    if sign == "method-missing":
        assert "userservice.v1.UserService" in the(sign, findings).mend


async def test_a_server_without_health_and_reflection() -> None:
    """That is a hint, and no fault; the latency is measured with another call."""
    server = Server([Stock()])
    await server.start("127.0.0.1", 0)
    async with server:
        findings = await examined(server.addresses[0])
    assert wrong(findings) == ["health-missing", "reflection-missing"]
    assert all(found.mark is not Mark.FAIL for found in findings)
    assert the("latency", findings).facts["kind"] == "calls of a method that is not there"


# --- Servers of all other kinds, by what is wrong with them


UNIMPLEMENTED = strange.status_only(12)
HEALTHY = {"Check": strange.message(SERVING), "List": UNIMPLEMENTED}

# What is there, what is found, and a word of what is said about it.
PLAIN: dict[str, tuple[Callable[[], Serving], list[str], str]] = {
    "an HTTP/1 server": (strange.web_server, ["http1"], "HTTP/2"),
    "an HTTP/1 server that says so": (
        lambda: strange.speaking(answer=b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ["http1"],
        "400 Bad Request",
    ),
    "SSH": (lambda: strange.speaking(b"SSH-2.0-OpenSSH_9.6\r\n"), ["ssh"], "OpenSSH_9.6"),
    "Redis": (
        lambda: strange.speaking(answer=b"-ERR unknown command\r\n"),
        ["other-protocol"],
        "unknown command",
    ),
    "a database": (
        lambda: strange.speaking(b"\x4a\x00\x00\x00\x0a8.0.36\x00"),
        ["strange-bytes"],
        "4a 00",
    ),
    "one that says nothing": (strange.speaking, ["silent"], "log"),
    "one that closes": (lambda: strange.speaking(closes=True), ["closed"], "closes"),
    "one that resets": (lambda: strange.speaking(resets=True), ["reset"], "cuts"),
    "one that breaks off its settings": (
        lambda: strange.speaking(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00", closes=True),
        ["closed"],
        "closes",
    ),
    "one that breaks a rule": (
        lambda: strange.speaking(b"\x00\x00\x01\x04\x00\x00\x00\x00\x00\x00", closes=True),
        ["strange-bytes"],
        "protocol",
    ),
    "one that pushes": (
        lambda: strange.speaking(
            b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
            b"\x00\x00\x04\x05\x04\x00\x00\x00\x01\x00\x00\x00\x02"
        ),
        ["http2-broken"],
        "push",
    ),
    "one that sends GOAWAY first": (
        lambda: strange.speaking(
            b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
            b"\x00\x00\x0c\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0bfull"
        ),
        ["http2-goaway"],
        "ENHANCE_YOUR_CALM",
    ),
    "one that takes no streams": (
        lambda: strange.http2_server(UNIMPLEMENTED, max_concurrent_streams=0),
        ["http2-no-streams"],
        "max_concurrent_streams",
    ),
    "one with tiny windows": (
        lambda: strange.http2_server(UNIMPLEMENTED, initial_window_size=1),
        ["health-missing", "reflection-missing"],
        "works without",
    ),
    "HTTP/2 without gRPC": (
        lambda: strange.http2_server(strange.page("200", b"<h1>Welcome</h1>")),
        ["not-grpc"],
        "Welcome",
    ),
    "a proxy without a route": (
        lambda: strange.http2_server(strange.page("404", b"not found", ("server", "nginx"))),
        ["http-no-route"],
        "nginx",
    ),
    "a proxy without a server": (
        lambda: strange.http2_server(strange.page("502", b"<h1>Bad Gateway</h1>")),
        ["http-gateway"],
        "Bad Gateway",
    ),
    "a proxy whose server is overloaded": (
        lambda: strange.http2_server(strange.page("503", b"no healthy upstream")),
        ["http-gateway"],
        "no healthy upstream",
    ),
    "envoy without a server": (
        lambda: strange.http2_server(
            strange.status_only(14, ("grpc-message", "no healthy upstream"), ("server", "envoy"))
        ),
        ["grpc-unavailable"],
        "envoy",
    ),
    "a sign-on page": (
        lambda: strange.http2_server(strange.page("403")),
        ["http-asks-who"],
        "403",
    ),
    "a redirection": (
        lambda: strange.http2_server(strange.page("301", b"", ("location", "https://other/"))),
        ["http-redirect"],
        "https://other/",
    ),
    "lost trailers": (
        lambda: strange.http2_server(strange.without_trailers),
        ["trailers-lost"],
        "trailers",
    ),
    "one that does not answer calls": (
        lambda: strange.http2_server(strange.nothing),
        ["grpc-silent"],
        "hangs",
    ),
    "one that resets calls": (
        lambda: strange.http2_server(strange.reset),
        ["grpc-reset"],
        "INTERNAL_ERROR",
    ),
    "one that goes away with the first call": (
        lambda: strange.http2_server(strange.goaway),
        ["http2-goaway"],
        "(go away)",
    ),
    "one that asks who calls": (
        lambda: strange.http2_server(strange.status_only(16, ("grpc-message", "no token"))),
        ["grpc-asks-who", "health-asks-who", "reflection-failed"],
        "no token",
    ),
    "one that answers what is not there": (
        lambda: strange.http2_server(strange.status_only(2)),
        ["grpc-odd", "health-failed", "reflection-failed"],
        "UNKNOWN",
    ),
    "a router beside gRPC": (
        lambda: strange.http2_server(strange.by_path(strange.page("404"), **HEALTHY)),
        ["grpc-beside", "reflection-missing"],
        "404",
    ),
    "one that does not serve now": (
        lambda: strange.http2_server(
            strange.by_path(UNIMPLEMENTED, Check=strange.message(NOT_SERVING))
        ),
        ["not-serving", "reflection-missing"],
        "NOT_SERVING",
    ),
    "one of whose services does not serve": (
        lambda: strange.http2_server(
            strange.by_path(
                UNIMPLEMENTED,
                Check=strange.message(SERVING),
                # Two entries: "" is SERVING, "a.B" is NOT_SERVING.
                List=strange.message(
                    b"\x0a\x06\x0a\x00\x12\x02\x08\x01\x0a\x09\x0a\x03a.B\x12\x02\x08\x02"
                ),
            )
        ),
        ["service-not-serving", "reflection-missing"],
        "a.B is NOT_SERVING",
    ),
    "one whose health knows no overall status": (
        lambda: strange.http2_server(strange.by_path(UNIMPLEMENTED, Check=strange.status_only(5))),
        ["health-no-overall", "reflection-missing"],
        "NOT_FOUND",
    ),
    "one whose health is no health": (
        lambda: strange.http2_server(
            strange.by_path(UNIMPLEMENTED, Check=strange.message(b"\xff"))
        ),
        ["health-failed", "reflection-missing"],
        "log",
    ),
}


def patience_with(kind: str) -> float:
    """Return how long to wait for a server of this kind."""
    never = kind in ("one that says nothing", "one that does not answer calls")
    return SHORT_S if never else LONG_S


@pytest.mark.parametrize("kind", PLAIN)
async def test_what_is_there_instead(kind: str) -> None:
    """What is wrong is found, and only that; the words tell what there is, and what to do."""
    serve, signs, said = PLAIN[kind]
    async with serve() as address:
        findings = await examined(address, timeout_s=patience_with(kind))
    assert wrong(findings) == signs
    found = the(signs[0], findings)
    assert said in f"{found.text} {found.why} {found.mend}"
    assert found.why
    assert found.mend


@pytest.mark.parametrize("kind", ["SSH", "lost trailers", "one that says nothing"])
async def test_what_cannot_be_done_is_skipped(kind: str) -> None:
    """Each step has its line, and those after the fault name it."""
    serve, [sign], _ = PLAIN[kind]
    async with serve() as address:
        findings = await examined(address, timeout_s=patience_with(kind))
    fault = the(sign, findings).step
    assert {found.step for found in findings} == set(Step) - {
        Step.CERTIFICATE,
        Step.ALPN,
        Step.METHOD,
    }
    skipped = [found for found in findings if found.sign == "not-looked-at"]
    assert [found.step for found in skipped] == [
        step for step in Step if step in {found.step for found in skipped}
    ]
    assert all(f"{fault} has to be mended" in found.text for found in skipped)


async def test_a_stream_that_goes_on() -> None:
    """A method that answers again and again is there."""
    reply = strange.by_path(UNIMPLEMENTED, Watch=strange.message(SERVING, ends=False))
    async with strange.http2_server(reply) as address:
        findings = await examined(address, method="/any.Service/Watch", timeout_s=SHORT_S)
    assert the("method-streams", findings).mark is Mark.OK


@pytest.mark.parametrize(
    ("reply", "sign"),
    [
        (strange.status_only(13, ("grpc-message", "oh no")), "method-failed"),
        (strange.page("502"), "method-failed"),
        (strange.nothing, "method-failed"),
        (strange.status_only(7), "method-asks-who"),
    ],
)
async def test_a_method_that_fails(reply: strange.Reply, sign: str) -> None:
    """The other steps are as they were."""
    paths = strange.by_path(UNIMPLEMENTED, Do=reply, **HEALTHY)
    async with strange.http2_server(paths) as address:
        patience_s = SHORT_S if reply is strange.nothing else LONG_S
        findings = await examined(address, method="/any.Service/Do", timeout_s=patience_s)
    assert wrong(findings) == ["reflection-missing", sign]


def serving_until(check: int, end: Callable[[Any], None]) -> strange.Reply:
    """Answer so many health checks, and then do this."""
    seen = 0

    def reply(peer: Any, stream: Any, path: str) -> None:
        nonlocal seen
        seen += path.endswith("Check")
        strange.by_path(UNIMPLEMENTED, Check=strange.message(SERVING))(peer, stream, path)
        if seen == check:
            peer.flush()
            end(peer)

    return reply


async def test_a_server_that_lets_connections_grow_old() -> None:
    """It says so with GOAWAY, which is no fault; the latency is that of the calls before."""
    reply = serving_until(20, lambda peer: peer.engine.goaway())
    async with strange.http2_server(reply) as address:
        findings = await examined(address)
    assert wrong(findings) == ["reflection-missing"]
    assert the("latency", findings).facts["count"] == 19  # the first was a step of its own


async def test_a_server_that_stops_answering() -> None:
    """The latency says after how many calls."""
    reply = serving_until(20, lambda peer: peer.transport.close())
    async with strange.http2_server(reply) as address:
        findings = await examined(address)
    lost = the("latency-lost", findings)
    assert "closed the connection" in lost.text
    assert lost.facts["count"] == 20


async def test_whatever_is_sent_is_a_finding() -> None:
    """Bytes of any kind, alone or behind settings, never end in a traceback."""
    chance = random.Random(20)
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    for number in range(20):
        kind, flags, stream = chance.randrange(12), chance.randrange(256), chance.randrange(4)
        payload = chance.randbytes(chance.randrange(40))
        frame = struct.pack(">HBBBL", 0, len(payload), kind, flags, stream) + payload
        first = (frame, settings + frame, payload)[number % 3]
        async with strange.speaking(first, closes=True) as address:
            findings = await examined(address)
        assert any(found.mark is Mark.FAIL for found in findings), first
        assert findings[-1].step is Step.LATENCY, first


# --- Addresses


async def test_nobody_listens() -> None:
    """The port is refused."""
    findings = await examined(strange.free_address())
    assert wrong(findings) == ["refused"]


async def test_a_black_hole() -> None:
    """It ends with words when the time is over."""
    started = asyncio.get_running_loop().time()
    async with strange.black_hole() as address:
        findings = await examined(address, timeout_s=SHORT_S)
    assert wrong(findings) == ["connect-timeout"]
    assert asyncio.get_running_loop().time() - started < 5


async def test_a_name_that_nobody_knows() -> None:
    """A label of more than 63 characters is in no name server."""
    findings = await examined(f"{'x' * 64}.example:1")
    assert wrong(findings) == ["name-unknown"]
    assert findings[1].sign == "not-looked-at"


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the resolver answer this, whatever the name is."""

    def resolve(answer: Callable[[], Any]) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_asked, **_how: answer())

    return resolve


def addresses(*names: str) -> list[Any]:
    """Return what the resolver says of a name with these addresses."""
    found = []
    for name in names:
        host, _, port = name.rpartition(":")
        found.append((socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, int(port))))
    return found


async def test_a_name_with_a_dead_address(address: str, resolves: Callable[..., None]) -> None:
    """One that refuses is a hint: clients try the other."""
    port = address.rpartition(":")[2]
    resolves(lambda: addresses(f"127.0.0.2:{port}", address))
    findings = await examined(f"users.example:{port}")
    assert wrong(findings) == ["refused-in-part"]
    assert the("refused-in-part", findings).facts["address"] == f"127.0.0.2:{port}"
    assert the("name-found", findings).facts["addresses"] == [f"127.0.0.2:{port}", address]
    assert the("serving", findings)


async def test_a_name_that_is_not_ascii(address: str, resolves: Callable[..., None]) -> None:
    """It is sent as the resolver asks for it."""
    resolves(lambda: addresses(address))
    findings = await examined("bücher.example:1")
    assert wrong(findings) == []


async def test_a_name_with_a_black_hole(address: str, resolves: Callable[..., None]) -> None:
    """One that is silent is a fault: clients wait for it."""
    async with strange.black_hole() as hole:
        resolves(lambda: addresses(hole, address))
        findings = await examined("users.example:1", timeout_s=SHORT_S)
    assert wrong(findings) == ["connect-timeout"]
    assert the("serving", findings)


@pytest.mark.parametrize(
    ("code", "sign"),
    [(socket.EAI_NONAME, "name-unknown"), (socket.EAI_AGAIN, "name-server-silent")],
)
async def test_a_failed_look_up(code: int, sign: str, resolves: Callable[..., None]) -> None:
    """A name that is not there is told from a name server that is not."""

    def fail() -> Any:
        raise socket.gaierror(code, "as the system says")

    resolves(fail)
    findings = await examined("users.example:1")
    assert wrong(findings) == [sign]
    assert "as the system says" in the(sign, findings).why


async def test_a_silent_name_server(resolves: Callable[..., None]) -> None:
    """Nobody waits for its thread."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang() -> Any:
        asyncio.run_coroutine_threadsafe(over.wait(), loop).result()
        return []

    resolves(hang)
    findings = await examined("users.example:1", timeout_s=SHORT_S)
    assert wrong(findings) == ["name-server-silent"]
    over.set()
    await asyncio.sleep(0.05)  # for the thread to end


async def test_a_unix_socket(tmp_path: Path) -> None:
    """A path needs no look-up; each way in which it fails has its words."""
    path = tmp_path / "sock"
    assert wrong(await examined(f"unix:{path}")) == ["socket-missing"]
    server = Server([Stock()])
    await server.start(path=str(path))
    async with server:
        findings = await examined(f"unix:{path}")
        assert wrong(findings) == ["health-missing", "reflection-missing"]
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert wrong(await examined(f"unix:{path}")) == ["socket-abandoned"]


# --- TLS


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of the certificates below."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def good(authority: Authority) -> Files:
    """A certificate that is well."""
    return authority.sign("good", "127.0.0.1", "localhost")


@pytest.fixture
def trusting(authority: Authority) -> Tls:
    """A client that trusts the authority."""
    return Tls(lambda: client_context(authority.file))


@asynccontextmanager
async def tls_server(files: Files, client_ca: Path | None = None) -> AsyncIterator[str]:
    """Serve gRPC with this certificate."""
    server = Server([Stock()])
    sock = socket.create_server(("127.0.0.1", 0))
    await server.listen([sock], ServerTls(files.cert, files.key, client_ca))
    async with server:
        yield server.addresses[0]


HINTS = ["health-missing", "reflection-missing"]


async def test_tls_that_is_well(good: Files, trusting: Tls) -> None:
    """Version, cipher, certificate and ALPN are told."""
    async with tls_server(good) as address:
        findings = await examined(address, tls=trusting)
    assert wrong(findings) == HINTS
    assert the("tls-agreed", findings).facts["version"] == "TLSv1.3"
    certificate = the("certificate-trusted", findings)
    assert certificate.facts["names"] == ["127.0.0.1", "localhost"]
    assert certificate.facts["days"] > 300
    assert the("alpn-agreed", findings)


async def test_tls_where_none_was_asked_for(good: Files) -> None:
    """The doctor finds out by itself, and says how to go on."""
    async with tls_server(good) as address:
        findings = await examined(address)
    assert wrong(findings) == ["tls-expected"]
    assert "--tls" in the("tls-expected", findings).mend


async def test_no_tls_where_it_was_asked_for(address: str, trusting: Tls) -> None:
    """And the other way round."""
    findings = await examined(address, tls=trusting)
    assert wrong(findings) == ["tls-unexpected"]
    assert the("tls-unexpected", findings).facts["tongue"] == "HTTP/2"


@pytest.mark.parametrize(
    ("kind", "sign"),
    [
        ("an HTTP/1 server", "tls-unexpected"),
        ("SSH", "tls-unexpected"),
        ("one that says nothing", "tls-silent"),
        ("one that closes", "tls-closed"),
        ("one that resets", "tls-closed"),
    ],
)
async def test_tls_with_what_has_none(kind: str, sign: str, trusting: Tls) -> None:
    """What is there is told, where it tells itself."""
    async with PLAIN[kind][0]() as address:
        findings = await examined(address, tls=trusting, timeout_s=patience_with(kind))
    assert wrong(findings) == [sign]


def last_week(authority: Authority) -> Files:
    """Sign a certificate whose time is over."""
    now = datetime.now(UTC)
    return authority.sign(
        "expired",
        "127.0.0.1",
        since=now - timedelta(days=30),
        until=now - timedelta(days=7, hours=1),
    )


def next_week(authority: Authority) -> Files:
    """Sign a certificate whose time has not come."""
    now = datetime.now(UTC)
    return authority.sign("early", "127.0.0.1", since=now + timedelta(days=7, hours=1))


def soon_over(authority: Authority) -> Files:
    """Sign a certificate of which little is left."""
    now = datetime.now(UTC)
    return authority.sign(
        "soon", "127.0.0.1", since=now - timedelta(days=80), until=now + timedelta(days=3, hours=1)
    )


def by_itself(authority: Authority) -> Files:
    """Return a certificate that is its own authority."""
    other = Authority(authority.folder, "itself")
    files = Files(other.file, authority.folder / "itself.key")
    files.key.write_bytes(other.ca.private_key_pem.bytes())
    return files


CERTIFICATES: dict[str, tuple[Callable[[Authority], Files], list[str], str]] = {
    "expired": (last_week, ["certificate-expired"], "7 days ago"),
    "not yet": (next_week, ["certificate-not-yet"], "in 7 days"),
    "soon over": (soon_over, ["certificate-ends-soon"], "3 days left"),
    "other name": (
        lambda authority: authority.sign("other", "users.example"),
        ["certificate-other-name"],
        "for users.example, and not for 127.0.0.1",
    ),
    "unknown": (
        lambda authority: Authority(authority.folder, "stranger").sign("strange", "127.0.0.1"),
        ["certificate-untrusted"],
        "stranger",
    ),
    "by itself": (
        by_itself,
        ["certificate-self-signed", "certificate-other-name"],
        "signed by itself",
    ),
}


@pytest.mark.parametrize("kind", CERTIFICATES)
async def test_certificates(kind: str, authority: Authority, trusting: Tls) -> None:
    """All that is wrong with one is told, and the steps after it go on."""
    sign, signs, said = CERTIFICATES[kind]
    async with tls_server(sign(authority)) as address:
        findings = await examined(address, tls=trusting)
    assert wrong(findings) == [*signs, *HINTS]
    assert said in the(signs[0], findings).text
    assert the("alpn-agreed", findings)


async def test_everything_is_wrong_with_a_certificate(authority: Authority, trusting: Tls) -> None:
    """OpenSSL tells one fault; the doctor tells each."""
    now = datetime.now(UTC)
    stranger = Authority(authority.folder, "foreigner")
    files = stranger.sign(
        "foreign", "a.example", since=now - timedelta(days=9), until=now - timedelta(days=2)
    )
    async with tls_server(files) as address:
        findings = await examined(address, tls=trusting)
    assert wrong(findings) == [
        "certificate-untrusted",
        "certificate-expired",
        "certificate-other-name",
        *HINTS,
    ]


async def test_another_name_can_be_given(authority: Authority) -> None:
    """As clients can, where the address has to stay."""
    tls = Tls(lambda: client_context(authority.file), name="users.example")
    async with tls_server(authority.sign("named", "users.example")) as address:
        assert wrong(await examined(address, tls=tls)) == HINTS


@pytest.mark.parametrize(
    ("version", "sign"),
    [
        (ssl.TLSVersion.TLSv1_2, "tls-refused"),  # it has no alert that says which
        (ssl.TLSVersion.TLSv1_3, "client-certificate-missing"),
    ],
)
async def test_a_client_certificate_is_asked_for(
    version: ssl.TLSVersion, sign: str, authority: Authority, good: Files
) -> None:
    """It is told from other faults, with and without one."""
    stranger = Authority(authority.folder, "unknown clients")
    shown = stranger.sign("shown", "me")

    def context(files: Files | None) -> ssl.SSLContext:
        names = (None, None) if files is None else (files.cert, files.key)
        made = client_context(authority.file, *names)
        made.maximum_version = version
        return made

    async with tls_server(good, client_ca=authority.file) as address:
        without = await examined(address, tls=Tls(lambda: context(None)))
        refused = await examined(address, tls=Tls(lambda: context(shown), shows_certificate=True))
        let_in = await examined(address, tls=Tls(lambda: context(good), shows_certificate=True))
    assert wrong(without) == [sign]
    assert "--tls-client-cert" in the(sign, without).mend
    assert wrong(refused) == ["client-certificate-refused"]
    assert wrong(let_in) == HINTS


async def test_tls_without_alpn(good: Files, trusting: Tls) -> None:
    """The rest is looked at nevertheless."""
    context = strange.server_context(str(good.cert), str(good.key))
    reply = strange.by_path(UNIMPLEMENTED, **HEALTHY)
    async with strange.http2_server(reply, context) as address:
        findings = await examined(address, tls=trusting)
    assert wrong(findings) == ["alpn-missing", "reflection-missing"]


async def test_tls_that_ends_after_the_handshake(good: Files, trusting: Tls) -> None:
    """A client certificate may be asked for, without a word."""
    context = strange.server_context(str(good.cert), str(good.key), ["h2"])
    async with strange.speaking(closes=True, tls=context) as address:
        findings = await examined(address, tls=trusting)
    assert wrong(findings) == ["closed-after-tls"]
    assert the("alpn-agreed", findings)


async def test_tls_with_http1(good: Files, trusting: Tls) -> None:
    """A web server has no HTTP/2 on this port."""
    context = strange.server_context(str(good.cert), str(good.key))
    web = strange.speaking(answer=b"HTTP/1.1 400 Bad Request\r\n\r\n", tls=context)
    async with web as address:
        findings = await examined(address, tls=trusting)
    assert wrong(findings) == ["alpn-missing", "http1"]
    assert {found.facts.get("cause") for found in findings} == {None, "http/2"}
