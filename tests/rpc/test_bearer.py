"""A token that goes with every call: to whom it may go, and what is not shown."""

import datetime
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from multidict import MultiDict
from tests.rpc.peers import Stock
from tests.rpc.test_authentication import Callers, authentication, bearer
from tests.rpc.test_jwt import issuer

from inventory._gen.inventory.v1 import GetStockRequest, PickItemsRequest
from inventory.client import InventoryClient
from userservice import UserServiceClient
from userservice.rpc import Server, connect
from userservice.rpc.client_call import ClientCall
from userservice.rpc.identity import Identity
from userservice.rpc.middleware.authentication import Certificates, name_of
from userservice.rpc.middleware.bearer import BearerToken, PlaintextTokenError, TokenError
from userservice.rpc.subject import SubjectKind

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def callers() -> Callers:
    """Who called, so far."""
    return Callers()


@pytest.fixture
async def address(stock: Stock, callers: Callers) -> AsyncIterator[str]:
    """Where the stock is served, to who says who it is."""
    server = Server([stock], middleware=[authentication(), callers])
    await server.start("127.0.0.1", 0)
    yield server.addresses[0]
    await server.drain(0)


async def test_a_channel_sends_it_with_each_call(address: str, callers: Callers) -> None:
    """But for a call that has another of its own."""
    token = BearerToken(issuer().issue("ann"))
    async with connect(address, middleware=[token]) as channel:
        client = InventoryClient(channel, timeout_s=5)
        await client.get_stock(GetStockRequest())
        assert [_ async for _ in client.pick_items([PickItemsRequest(count=1)])]
        await client.get_stock(GetStockRequest(), metadata=bearer(issuer().issue("bob")))
    assert [subject and subject.id for subject in callers.subjects] == ["ann", "ann", "bob"]


@pytest.mark.parametrize(
    "target",
    ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "dns:///localhost", "unix:/run/a"],
)
def test_it_may_go_to_this_machine(target: str) -> None:
    """Nobody is on the way."""
    assert BearerToken.to(target, None, "t")


@pytest.mark.parametrize(
    "target",
    ["users.example:1", "192.0.2.1:1", "[2001:db8::1]:1", "0.0.0.0:1", "localhost.example:1"],
)
def test_it_goes_to_others_with_tls_only(target: str) -> None:
    """Unless that is wanted."""
    with pytest.raises(PlaintextTokenError, match="without TLS") as refused:
        BearerToken.to(target, None, "very-secret")
    assert "very-secret" not in str(refused.value)
    assert BearerToken.to(target, ssl.create_default_context(), "t")
    assert BearerToken.to(target, None, "t", plaintext=True)


async def test_a_client_keeps_to_that() -> None:
    """The user service's too."""
    with pytest.raises(PlaintextTokenError):
        UserServiceClient("users.example:1", token="t")
    UserServiceClient("users.example:1", token="t", allow_plaintext_token=True).close()
    UserServiceClient("users.example:1", token="t", tls=ssl.create_default_context()).close()
    UserServiceClient("users.example:1").close()


@pytest.mark.parametrize("text", ["", "two words", "a\nb", "a\r\nb: c", "ä", "a=b", "\0", "a,b"])
def test_what_is_no_token_is_refused(text: str) -> None:
    """Before it is sent, and without a word of it."""
    with pytest.raises(TokenError) as refused:
        BearerToken(text)
    assert not text or text not in str(refused.value)


async def test_it_is_never_shown() -> None:
    """Not by a client, a middleware, or a call."""
    token = BearerToken("very-secret")
    call = ClientCall("/a/b", "here", MultiDict(), None)
    token.before(call)
    assert call.metadata["authorization"] == "Bearer very-secret"
    client = UserServiceClient(token="very-secret")
    for thing in (token, call, client, client.channel):
        assert "very-secret" not in repr(thing)
    client.close()


# Certificates


def identity(**names: Any) -> Identity:
    """What a certificate says."""
    return Identity(serial_number="1", not_after=NOW, issuer="ca", sha256="ff", **names)


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ({"uris": ("spiffe://a/b", "x:y"), "emails": ("a@b",)}, "uri:spiffe://a/b"),
        ({"emails": ("a@b",), "dns_names": ("c",)}, "email:a@b"),
        ({"dns_names": ("c.example",), "common_name": "c"}, "dns:c.example"),
        ({"common_name": "0b9f1c9e-0000-4000-8000-000000000001"}, "cn:0b9f1c9e-0000-4000"),
        ({}, "sha256:ff"),
    ],
    ids=["uri", "email", "dns", "cn", "none"],
)
def test_a_certificate_has_a_name_of_its_kind(names: dict[str, Any], name: str) -> None:
    """No common name is the id of a user by accident."""
    assert name_of(identity(**names)).startswith(name)


def test_a_certificate_counts_where_there_is_no_token() -> None:
    """Who shows a token means it."""

    class Connected:
        def __init__(self, identity: Identity | None) -> None:
            self.identity = identity

    known: Any = Connected(identity(emails=("ann@example.com",)))
    unknown: Any = Connected(None)
    subject = Certificates().known(known, None)
    assert subject is not None
    assert (subject.id, subject.kind) == ("email:ann@example.com", SubjectKind.CERTIFICATE)
    assert subject.claims == {"issuer": "ca", "sha256": "ff"}
    assert Certificates().known(known, "token") is None
    assert Certificates().known(unknown, None) is None
