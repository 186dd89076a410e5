"""Authentication: nobody is served before it is known who calls, by whatever name or way."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import pytest
from tests.rpc.peers import Peer, Serve, Stock
from tests.rpc.test_jwt import AUDIENCE, HOSTILE, ISSUER, KEY, OTHER_KEY, issuer, signed, verifier

from inventory._gen.inventory.v1 import GetStockRequest, ListStockRequest, PickItemsRequest
from inventory.client import InventoryClient
from userservice._gen.grpc.health.v1 import HealthCheckRequest, HealthStub
from userservice.rpc import (
    Call,
    Encoding,
    Server,
    Stub,
    UnauthenticatedError,
    UnimplementedError,
    connect,
    current_call,
)
from userservice.rpc.details import ErrorInfo
from userservice.rpc.health import Health
from userservice.rpc.jwt import HS256, JwtVerifier, Keys, VerifyingKey
from userservice.rpc.middleware import Middleware
from userservice.rpc.middleware.authentication import (
    NO_SECRETS,
    Authentication,
    Authenticator,
    Jwts,
    Reason,
    RefusedCredentialsError,
)
from userservice.rpc.reflection import with_reflection
from userservice.rpc.subject import Subject, SubjectKind
from userservice.rpc.testing import ChannelFor
from userservice.wire import http2

GET = "/inventory.v1.InventoryService/GetStock"


def authentication(**options: Any) -> Authentication:
    """One that takes the tokens of `issuer`."""
    return Authentication([Jwts([verifier()])], domain="inventory.v1", **options)


def bearer(token: str) -> dict[str, str]:
    """The metadata of a call with a token."""
    return {"authorization": f"Bearer {token}"}


class Callers(Middleware):
    """Notes who called."""

    def __init__(self) -> None:
        self.subjects: list[Subject | None] = []

    def before(self, call: Call) -> None:
        self.subjects.append(call.subject)


@pytest.fixture
def callers() -> Callers:
    """Who called, so far."""
    return Callers()


@pytest.fixture
async def client(stock: Stock, callers: Callers) -> AsyncIterator[InventoryClient]:
    """A client without a token, of a server that wants one."""
    async with ChannelFor([stock], middleware=[authentication(), callers]) as channel:
        yield InventoryClient(channel, timeout_s=5)


async def refusal(client: InventoryClient, metadata: Any = None) -> tuple[str, str]:
    """Call, and return the reason and the text of why that is not possible."""
    with pytest.raises(UnauthenticatedError) as refused:
        await client.get_stock(GetStockRequest(item="four"), metadata=metadata)
    info = refused.value.detail(ErrorInfo)
    assert info is not None
    assert info.domain == "inventory.v1"
    return info.reason, str(refused.value.message)


async def test_a_token_says_who_calls(client: InventoryClient, callers: Callers) -> None:
    """In a unary call, and in streams; the scheme is in upper or lower case."""
    token = issuer().issue("ann", team="blue")
    await client.get_stock(GetStockRequest(item="four"), metadata=bearer(token))
    for scheme in ("bearer", "BEARER", "bEaReR"):
        metadata = {"authorization": f"{scheme}  {token}"}
        await client.get_stock(GetStockRequest(item="four"), metadata=metadata)
    picks = [PickItemsRequest(count=1)]
    assert [_ async for _ in client.pick_items(picks, metadata=bearer(token))]
    assert [_ async for _ in client.list_stock(ListStockRequest(), metadata=bearer(token))]
    assert len(callers.subjects) == 6
    for subject in callers.subjects:
        assert subject is not None
        assert (subject.id, subject.kind) == ("ann", SubjectKind.USER)
        assert subject.claims["team"] == "blue"


async def test_who_does_not_say_is_refused(client: InventoryClient, stock: Stock) -> None:
    """With a reason, and what to do; no handler hears of it."""
    reason, message = await refusal(client)
    assert reason == "MISSING_CREDENTIALS"
    assert "authorization: Bearer" in message
    with pytest.raises(UnauthenticatedError):
        assert [_ async for _ in client.list_stock(ListStockRequest())]
    with pytest.raises(UnauthenticatedError):
        assert [_ async for _ in client.pick_items([PickItemsRequest(count=1)])]
    assert stock.seen == []


@pytest.mark.parametrize(
    "values",
    [
        ["Basic YW5uOnNlY3JldA=="],
        ["Bearer"],
        ["Bearer "],
        ["Bearer a b"],
        [""],
        ["GOOD"],
        ["GOOD, Bearer GOOD"],
        ["Bearer GOOD", "Bearer GOOD"],
        ["Bearer GOOD", "Basic YQ=="],
        ["Token GOOD"],
    ],
)
async def test_what_is_no_bearer_token_is_refused(
    client: InventoryClient, values: Sequence[str]
) -> None:
    """Also where there are several: which of them counts would be anybody's guess."""
    token = issuer().issue("ann")
    metadata = [("authorization", value.replace("GOOD", token)) for value in values]
    reason, message = await refusal(client, metadata)
    assert reason == "MALFORMED_CREDENTIALS"
    assert token not in message


async def test_a_token_that_is_not_good_says_why(client: InventoryClient) -> None:
    """Expired has a reason of its own: whoever has it gets a new one."""
    reason, message = await refusal(client, bearer(signed(exp=int(time.time()) - 3600)))
    assert (reason, message) == ("TOKEN_EXPIRED", "the token has expired")
    for token, words in [
        (issuer(key=OTHER_KEY).issue("ann"), "a key that is trusted"),
        (issuer(kid="two").issue("ann"), "key is not known"),
        (signed(aud="others"), "another audience"),
        ("opaque", "no kind"),
    ]:
        reason, message = await refusal(client, bearer(token))
        assert reason == "INVALID_TOKEN"
        assert words in message
        assert token not in message


SENDABLE = {
    name: token
    for name, token in HOSTILE.items()
    if token and token.isascii() and len(token) <= 8_192
}


async def test_hostile_tokens_are_refused(
    client: InventoryClient, stock: Stock, caplog: pytest.LogCaptureFixture
) -> None:
    """All of them; none is logged."""
    caplog.set_level(logging.DEBUG)
    for token in SENDABLE.values():
        reason, message = await refusal(client, bearer(token))
        assert reason == "INVALID_TOKEN"
        if len(token) > 4:
            assert token not in message
            assert token not in caplog.text
    assert stock.seen == []


async def test_the_verifier_with_the_key_decides(stock: Stock, callers: Callers) -> None:
    """Tokens of several issuers are taken side by side; none waits for the keys of another."""

    class Slow(Keys):
        async def refresh(self) -> bool:
            raise AssertionError

    first = JwtVerifier(Slow([VerifyingKey("one", HS256, KEY)]), issuer=ISSUER, audience=AUDIENCE)
    second = verifier(VerifyingKey("two", HS256, OTHER_KEY))
    both = Authentication([Jwts([first, second])])
    async with ChannelFor([stock], middleware=[both, callers]) as channel:
        client = InventoryClient(channel)
        for token in (issuer().issue("ann"), issuer(OTHER_KEY, "two").issue("bob")):
            for _ in range(2):
                await client.get_stock(GetStockRequest(), metadata=bearer(token))
    assert [subject and subject.id for subject in callers.subjects] == ["ann"] * 2 + ["bob"] * 2


async def test_authenticators_are_asked_in_their_order(stock: Stock, callers: Callers) -> None:
    """Until one finds somebody, or refuses; who need not wait is asked first."""

    class Badges(Authenticator):
        async def authenticate(self, call: Call, token: str | None) -> Subject | None:
            badge = call.metadata.get("x-badge")
            if badge == "stolen":
                raise RefusedCredentialsError(Reason.INVALID_TOKEN, "it is stolen")
            await asyncio.sleep(0)
            return None if badge is None else Subject(str(badge), SubjectKind.API_TOKEN, {})

    both = Authentication([Jwts([verifier()]), Badges()], domain="inventory.v1")
    async with ChannelFor([stock], middleware=[both, callers]) as channel:
        client = InventoryClient(channel)
        await client.get_stock(GetStockRequest(), metadata={"x-badge": "7"})
        with_token = {"x-badge": "7", **bearer(issuer().issue("ann"))}
        await client.get_stock(GetStockRequest(), metadata=with_token)
        assert await refusal(client, {"x-badge": "stolen"}) == ("INVALID_TOKEN", "it is stolen")
        assert (await refusal(client))[0] == "MISSING_CREDENTIALS"
    assert [subject and subject.id for subject in callers.subjects] == ["7", "ann"]


async def test_exempt_methods_are_open_and_no_others(stock: Stock, callers: Callers) -> None:
    """By their whole paths; the list is there to be read."""
    server = with_reflection([stock, Health({})])
    async with ChannelFor(server, middleware=[authentication(), callers]) as channel:
        await HealthStub(channel).check(HealthCheckRequest())
        await refusal(InventoryClient(channel))
    assert callers.subjects == [None]
    served = {path for service in server for path in service.__mapping__()}
    assert set(NO_SECRETS) == {path for path in served if "Inventory" not in path}
    open_to_all = authentication(exempt=[*NO_SECRETS, GET])
    async with ChannelFor([stock], middleware=[open_to_all]) as channel:
        await InventoryClient(channel).get_stock(
            GetStockRequest(), metadata=[("authorization", "x")]
        )


PATHS = [
    "/",
    "//",
    "*",
    GET.upper(),
    GET.lower(),
    GET + "/",
    "/" + GET,
    GET.replace("/", "//"),
    GET + "?x=1",
    GET + "#x",
    GET + "%20",
    GET.replace("G", "%47"),
    GET.replace("/", "%2F")[3:],
    "/inventory.v1.InventoryService/Nothing",
    "/nothing.v1.Nothing/Nothing",
    "/grpc.health.v1.Health/../inventory.v1.InventoryService/GetStock",
    "/grpc.health.v1.Health/Check/../../inventory.v1.InventoryService/GetStock",
    "/grpc.health.v1.Health/CHECK",
    "/grpc.health.v1.Health/Check/",
    "/grpc.health.v1.Health/",
    "http://test" + GET,
    GET + "\u00e9",
    "/" + "x" * 4_000,
]


async def answer(peer: Peer, stream: http2.Stream) -> Mapping[str, str]:
    """Wait for the end of a call, and return all header fields that came."""
    fields: dict[str, str] = {}
    seen = 0
    async with asyncio.timeout(5):
        while True:
            for event in peer.events[seen:]:
                seen += 1
                match event:
                    case http2.ResponseReceived() if event.stream is stream:
                        fields |= dict(event.headers.fields)
                        if event.end_stream:
                            return fields
                    case http2.TrailersReceived() if event.stream is stream:
                        return fields | dict(event.headers.fields)
                    case http2.StreamReset() if event.stream is stream:
                        return {"reset": str(event.code)}
            if peer.lost:
                return {"reset": "with the connection"}
            await asyncio.sleep(0)


async def test_there_is_no_way_around_by_name(serve: Serve, stock: Stock) -> None:
    """Whatever is called: who is not known is not even told that it is not there."""
    peer = serve(middleware=[authentication()])
    for path in [GET, *PATHS]:
        fields = await answer(peer, peer.call("", GetStockRequest(item="four"), **{":path": path}))
        assert "reset" in fields or fields["grpc-status"] == "16", (path, fields)
    assert stock.seen == []
    token = issuer().issue("ann")
    for path in PATHS:
        named = {":path": path, "authorization": f"Bearer {token}"}
        fields = await answer(peer, peer.call("", GetStockRequest(item="four"), **named))
        assert "reset" in fields or fields["grpc-status"] == "12", (path, fields)


async def test_what_is_too_large_is_refused(serve: Serve, stock: Stock) -> None:
    """By authentication, or before, where it is no list of header fields that is taken."""
    for size, text in ((9_000, "A"), (2**15, "A."), (2**20, "A"), (1_000, "\u00e9"), (0, "")):
        peer = serve(middleware=[authentication()])
        fields = {"authorization": f"Bearer {text * size}".strip()}
        stream = peer.call("GetStock", GetStockRequest(item="four"), **fields)
        got = await answer(peer, stream)
        assert "reset" in got or got[":status"] == "431" or got["grpc-status"] == "16", (size, got)
    assert stock.seen == []


async def test_there_is_no_way_around_by_headers(serve: Serve, stock: Stock) -> None:
    """Other spellings of the request are refused the same, or earlier."""
    peer = serve(middleware=[authentication()])
    token = issuer().issue("ann")
    others: Iterable[dict[str, str]] = [
        {"content_type": "application/grpc+proto"},
        {"content_type": "APPLICATION/GRPC"},
        {"content_type": "application/grpc; a=b"},
        {"content_type": "application/grpc+json"},
        {"content_type": "application/grpc-web"},
        {"content_type": "application/json"},
        {"grpc_encoding": "gzip"},
        {"grpc_encoding": "snappy"},
        {"grpc_accept_encoding": "gzip"},
        {"grpc_timeout": "1S"},
        {"grpc_timeout": "0n"},
        {"x_authorization": f"Bearer {token}"},
        {"proxy_authorization": f"Bearer {token}"},
        {"authorization_bin": token.replace(".", "").replace("-", "+").replace("_", "/")},
        {"cookie": f"authorization=Bearer {token}"},
        {"grpc_authorization": f"Bearer {token}"},
        {":authority": "grpc.health.v1.Health"},
    ]
    for fields in others:
        got = await answer(peer, peer.call("GetStock", GetStockRequest(item="four"), **fields))
        assert got[":status"] != "200" or got["grpc-status"] in {"4", "12", "16"}, (fields, got)
    assert stock.seen == []


async def is_taken(client: InventoryClient, token: str) -> bool:
    """Tell whether a token is good for a call now."""
    try:
        await client.get_stock(GetStockRequest(), metadata=bearer(token))
    except UnauthenticatedError:
        return False
    return True


async def test_a_stream_outlives_its_token(stock: Stock) -> None:
    """As with every gRPC server: what is looked at is the beginning of a call."""
    begun = asyncio.Event()

    class Slow(Stock):
        async def pick_items(self, messages: Any) -> AsyncIterator[Any]:
            subject = current_call().subject
            assert subject is not None
            begun.set()
            await self.go_on.wait()
            assert subject.claims["exp"] < time.time()
            async for answer in super().pick_items(messages):
                yield answer

    slow = Slow()
    brief = verifier(leeway_s=0)
    async with ChannelFor([slow], middleware=[Authentication([Jwts([brief])])]) as channel:
        client = InventoryClient(channel)
        token = issuer(lifetime_s=1).issue("ann")
        picks = client.pick_items([PickItemsRequest(count=1)], metadata=bearer(token))
        heard = asyncio.ensure_future(anext(picks))
        await begun.wait()
        while await is_taken(client, token):
            await asyncio.sleep(0.02)
        slow.go_on.set()
        assert (await heard).left == 1
        assert [_ async for _ in picks] == []


async def test_compressed_requests_are_refused_unread(stock: Stock) -> None:
    """Nothing is unpacked for somebody who is not known."""
    server = Server([stock], middleware=[authentication()])
    await server.start("127.0.0.1", 0)
    async with connect(server.addresses[0], compression=Encoding.GZIP) as channel:
        await refusal(InventoryClient(channel, timeout_s=5))
        token = issuer().issue("ann")
        client = InventoryClient(channel, timeout_s=5)
        await client.get_stock(GetStockRequest(item="four"), metadata=bearer(token))
        with pytest.raises(UnimplementedError):
            await Stub(channel)._unary_unary(
                "/no/such", GetStockRequest(), GetStockRequest, metadata=bearer(token)
            )
    await server.drain(0)
    assert stock.seen == ["four"]


def test_a_subject_s_claims_are_not_shown() -> None:
    """They may be personal."""
    shown = repr(Subject("ann", SubjectKind.USER, {"email": "ann@example.com"}))
    assert "ann@example.com" not in shown
    assert "'ann'" in shown
    assert ISSUER not in shown
    assert AUDIENCE not in shown
