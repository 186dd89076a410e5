"""The access log: one entry a call, nothing secret, nothing forged, and nobody waits for it."""

import asyncio
import re
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from tests.rpc.peers import Peer, Serve, Stock

from inventory._gen.inventory.v1 import GetStockRequest, PickItemsRequest
from inventory.client import InventoryClient
from userservice.rpc import (
    Call,
    PermissionDeniedError,
    RpcError,
    UnknownError,
    current_call,
    reply_metadata,
)
from userservice.rpc.middleware import Middleware
from userservice.rpc.middleware.access_log import AccessLog, Entry, clean
from userservice.rpc.middleware.line_writer import LineWriter
from userservice.rpc.subject import Subject, SubjectKind
from userservice.rpc.testing import ChannelFor
from userservice.wire import http2

GET = "/inventory.v1.InventoryService/GetStock"
FOUR = GetStockRequest(item="four")


@pytest.fixture
def entries() -> list[Entry]:
    """What was written."""
    return []


# Entries


async def test_a_call_is_one_entry(stock: Stock, entries: list[Entry]) -> None:
    """With its method, status, time, sizes, and who made it."""
    async with ChannelFor([stock], middleware=[AccessLog(entries.append)]) as channel:
        await InventoryClient(channel).get_stock(FOUR, metadata={"authorization": "secret"})
        picks = [PickItemsRequest(count=n) for n in (1, 2)]
        assert len([pick async for pick in InventoryClient(channel).pick_items(picks)]) == 2
    get, pick = entries
    assert 0 < get.pop("duration_ms") < 5_000
    assert re.fullmatch(r"[0-9a-f]{16}", get.pop("request_id"))
    assert get.pop("user_agent").startswith("grpc-python-grpclib/")
    assert get == {
        "method": GET,
        "status": "OK",
        "received": 1,
        "received_bytes": len(bytes(FOUR)),
        "sent": 1,
        "sent_bytes": 2,
        "peer": "unix",
    }
    assert (pick["received"], pick["sent"]) == (2, 2)


async def test_it_tells_who_was_known_to_call(stock: Stock, entries: list[Entry]) -> None:
    """The subject and its kind, without what else is known of it."""

    class Known(Middleware):
        def before(self, call: Call) -> None:
            call.subject = Subject("ann", SubjectKind.API_TOKEN, {"email": "ann@example.com"})

    async with ChannelFor([stock], middleware=[AccessLog(entries.append), Known()]) as channel:
        await InventoryClient(channel).get_stock(FOUR)
    assert (entries[0]["subject"], entries[0]["subject_kind"]) == ("ann", "api-token")
    assert "ann@example.com" not in str(entries)


async def test_every_end_is_told(stock: Stock, entries: list[Entry]) -> None:
    """Also of a call that was refused, and of a client that left."""

    class Guard(Middleware):
        def before(self, call: Call) -> None:
            if "x-no" in call.metadata:
                raise PermissionDeniedError("the text may be of a person")

    async with ChannelFor([stock], middleware=[AccessLog(entries.append), Guard()]) as channel:
        client = InventoryClient(channel)
        with pytest.raises(RpcError):
            await client.get_stock(FOUR, metadata={"x-no": "1"})
        with pytest.raises(UnknownError):
            await client.get_stock(GetStockRequest(item="fails"))
        leaving = asyncio.create_task(client.get_stock(GetStockRequest(item="slow")))
        while "slow" not in stock.seen:
            await asyncio.sleep(0)
        leaving.cancel()
        while len(entries) < 3:
            await asyncio.sleep(0)
    assert [entry["status"] for entry in entries] == ["PERMISSION_DENIED", "UNKNOWN", "CANCELLED"]
    assert "person" not in str(entries)


async def test_only_chosen_metadata_is_told(stock: Stock, entries: list[Entry]) -> None:
    """All the values of a key."""
    log = AccessLog(entries.append, metadata=["x-tenant", "x-absent"])
    async with ChannelFor([stock], middleware=[log]) as channel:
        metadata = [("x-tenant", "a"), ("x-other", "b"), ("x-tenant", "c")]
        await InventoryClient(channel).get_stock(FOUR, metadata=metadata)
    assert {name: entry for name, entry in entries[0].items() if name.startswith("metadata")} == {
        "metadata.x-tenant": "a, c"
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metadata": ["authorization"]}, "authorization is a secret"),
        ({"metadata": ["grpc-trace-bin"]}, "has bytes"),
        ({"metadata": ["X-Tenant"]}, "in lower case"),
        ({"sample": 0}, "1 or more"),
    ],
)
def test_what_may_not_be_logged_is_refused(options: dict[str, Any], said: str) -> None:
    """Before anything is."""
    with pytest.raises(ValueError, match=said):
        AccessLog(print, **options)


async def test_one_of_several_calls_is_told_but_all_that_fail_or_are_slow(
    stock: Stock, entries: list[Entry]
) -> None:
    """And the one says for how many it stands."""
    chances = iter([0.9, 0.2, 0.1, 0.5])
    log = AccessLog(entries.append, sample=5, chance=lambda: next(chances))
    async with ChannelFor([stock], middleware=[log]) as channel:
        for _ in range(4):
            await InventoryClient(channel).get_stock(FOUR)
        with pytest.raises(UnknownError):
            await InventoryClient(channel).get_stock(GetStockRequest(item="fails"))
    assert [(entry["status"], entry.get("sample")) for entry in entries] == [
        ("OK", 5),
        ("UNKNOWN", None),
    ]
    entries.clear()
    log = AccessLog(entries.append, sample=5, slow_s=1e-9, chance=lambda: 0.9)
    async with ChannelFor([stock], middleware=[log]) as channel:
        await InventoryClient(channel).get_stock(FOUR)
    assert [entry.get("sample") for entry in entries] == [None]


# The name of a call


@pytest.mark.parametrize("name", ["1", "a.b-c_d~e:f/g+h=@", "x" * 128])
async def test_a_client_names_its_call(stock: Stock, entries: list[Entry], name: str) -> None:
    """The name is in the log, and comes back."""
    async with ChannelFor([stock], middleware=[AccessLog(entries.append)]) as channel:
        with reply_metadata() as reply:
            await InventoryClient(channel).get_stock(FOUR, metadata={"x-request-id": name})
    assert entries[0]["request_id"] == reply.trailing["x-request-id"] == name


@pytest.mark.parametrize("name", ["", "a b", "x" * 129, 'a"b', "ä", "a=\x1b[2J", "{}", "a,b"])
async def test_what_is_no_name_is_replaced(stock: Stock, entries: list[Entry], name: str) -> None:
    """Also the failed call's client hears the new one."""
    async with ChannelFor([stock], middleware=[AccessLog(entries.append)]) as channel:
        with pytest.raises(UnknownError) as caught:
            await InventoryClient(channel).get_stock(
                GetStockRequest(item="fails"), metadata={"x-request-id": name}
            )
    new = caught.value.trailing_metadata["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{16}", str(new))
    assert entries[0]["request_id"] == new


async def test_the_handler_s_own_lines_have_the_name(stock: Stock, entries: list[Entry]) -> None:
    """By structlog; and the next call's lines have the next name."""
    bound = []

    class Teller(Middleware):
        def before(self, call: Call) -> None:
            bound.append(dict(structlog.contextvars.get_contextvars()))
            assert current_call().request_id == call.request_id

    async with ChannelFor([stock], middleware=[AccessLog(entries.append), Teller()]) as channel:
        for name in ("one", "two"):
            await InventoryClient(channel).get_stock(FOUR, metadata={"x-request-id": name})
    assert bound == [{"request_id": "one"}, {"request_id": "two"}]
    assert structlog.contextvars.get_contextvars() == {}


async def test_a_call_has_a_name_without_a_log(stock: Stock) -> None:
    """It is made when it is asked for, once."""
    names = []

    class Teller(Middleware):
        def before(self, call: Call) -> None:
            names.append(call.request_id)
            names.append(call.request_id)

    async with ChannelFor([stock], middleware=[Teller()]) as channel:
        await InventoryClient(channel).get_stock(FOUR)
        await InventoryClient(channel).get_stock(FOUR)
    assert names[0] == names[1] != names[2] == names[3]


# Traces


@pytest.fixture
def span(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """What OpenTelemetry says of the current span, where it is there."""
    context = SimpleNamespace(is_valid=True, trace_id=0xABC, span_id=0xDEF)
    module: Any = ModuleType("opentelemetry.trace")
    module.get_current_span = lambda: SimpleNamespace(get_span_context=lambda: context)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", module)
    return context


async def test_the_current_trace_is_told(
    stock: Stock, entries: list[Entry], span: SimpleNamespace
) -> None:
    """As it was when the call began: its span is over when the call ends."""

    class Leaving(Middleware):
        @contextmanager
        def around(self, call: Call) -> Iterator[None]:
            yield
            span.is_valid = False

    async with ChannelFor([stock], middleware=[AccessLog(entries.append), Leaving()]) as channel:
        await InventoryClient(channel).get_stock(FOUR)
        await InventoryClient(channel).get_stock(FOUR)
    assert (entries[0]["trace_id"], entries[0]["span_id"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert "trace_id" not in entries[1]


async def test_a_call_within_a_call_has_a_trace_of_its_own(
    stock: Stock, entries: list[Entry], span: SimpleNamespace
) -> None:
    """What is called from a handler, in the same process, inherits nothing of its log."""

    class Through(Stock):
        async def get_stock(self, message: GetStockRequest) -> Any:
            span.is_valid = False
            return await InventoryClient(inner).get_stock(message)

    log = AccessLog(entries.append)
    async with (
        ChannelFor([stock], middleware=[log]) as inner,
        ChannelFor([Through()], middleware=[log]) as outer,
    ):
        await InventoryClient(outer).get_stock(FOUR)
    assert ["trace_id" in entry for entry in entries] == [False, True]


# What peers say


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("grpc-go/1.85.0", "grpc-go/1.85.0"),
        ("Ännchen", "Ännchen"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2J\x7f\x9b", r"\x1b[2J\x7f\x9b"),
        ("a\u2028b\u202ec\u200b", r"a\u2028b\u202ec\u200b"),
        ("\ud800", r"\ud800"),
        ("x" * 300, "x" * 256 + "..."),
    ],
)
def test_what_peers_say_is_made_harmless(text: str, cleaned: str) -> None:
    """What is not seen, or moves what is seen, is written as Python writes it."""
    assert clean(text) == cleaned


@given(st.text(max_size=400))
def test_clean_text_is_short_and_can_be_seen(text: str) -> None:
    """Whatever it was."""
    assert clean(text).isprintable()
    assert len(clean(text)) <= 256 * 10 + 3


async def test_a_path_of_any_kind_is_told_harmlessly(serve: Serve, entries: list[Entry]) -> None:
    """HTTP/2 lets fields have signs that a line of a log must not have."""
    peer: Peer = serve(middleware=[AccessLog(entries.append)])
    peer.call("Get\xa0Stock\x85\x9b2J", FOUR, user_agent="a\x85b\x9bc")
    await peer.until(http2.ResponseReceived)
    while not entries:
        await asyncio.sleep(0)
    assert entries[0]["status"] == "UNIMPLEMENTED"
    assert all(str(value).isprintable() for value in entries[0].values())


# The thread that writes


class Slow:
    """Takes what is written when it is let."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.began = threading.Event()
        self.written: list[bytes] = []

    def __call__(self, data: bytes) -> None:
        self.began.set()
        self.go_on.wait(10)
        self.written.append(data)

    @property
    def text(self) -> str:
        return b"".join(self.written).decode()


def dropped(count: int) -> str:
    """What is written of lines that were dropped."""
    return f"{count} dropped\n"


@pytest.fixture
async def slow() -> AsyncIterator[Slow]:
    """A reader that reads nothing until it is let."""
    made = Slow()
    yield made
    made.go_on.set()


async def test_lines_are_written_together_and_all_at_the_end() -> None:
    """In their order, none in two parts."""
    written: list[bytes] = []
    async with LineWriter(written.append, dropped) as writer:
        for number in range(100):
            writer.add(f"{number}\n")
        async with asyncio.timeout(5):
            while not written:
                await asyncio.sleep(0.01)
        for number in range(100, 200):
            writer.add(f"{number}\n")
    assert len(written) == 2
    assert b"".join(written).decode().split() == [str(number) for number in range(200)]


async def test_a_reader_that_is_slow_holds_up_nobody_and_the_loss_is_told(slow: Slow) -> None:
    """What does not fit is dropped; how much is said when there is room."""
    async with LineWriter(slow, dropped, waiting_max=30) as writer:
        writer.add("first\n")
        await asyncio.to_thread(slow.began.wait, 5)
        for number in range(10):
            writer.add(f"line {number}\n")
        slow.go_on.set()
        async with asyncio.timeout(5):
            while "dropped" not in slow.text:
                await asyncio.sleep(0.01)
        writer.add("last\n")
    assert slow.text.splitlines() == [
        "first",
        *(f"line {number}" for number in range(4)),
        "6 dropped",
        "last",
    ]


async def test_a_reader_that_is_gone_loses_lines_and_nothing_else() -> None:
    """The next ones are tried again."""
    tried = []

    def write(data: bytes) -> None:
        tried.append(data)
        raise BrokenPipeError

    async with LineWriter(write, dropped) as writer:
        writer.add("one\n")
        async with asyncio.timeout(5):
            while not tried:
                await asyncio.sleep(0.01)
        writer.add("two\n")
    assert tried == [b"one\n", b"two\n"]


async def test_the_end_waits_for_nobody_for_long(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal that was stopped must not keep the server from its end."""
    monkeypatch.setattr("userservice.rpc.middleware.line_writer.CLOSING_S", 0.05)
    async with asyncio.timeout(5):
        async with LineWriter(slow, dropped) as writer:
            writer.add("one\n")
        writer.add("after the end\n")
    assert slow.text == ""
