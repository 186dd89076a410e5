"""Limits on callers: how often they call, how many calls they have, and when nobody may."""

import asyncio
import time
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest
from grpclib.const import Status
from tests.rpc.peers import Stock

from inventory._gen.inventory.v1 import GetStockRequest, PickItemsRequest
from inventory.client import InventoryClient
from userservice._gen.grpc.health.v1 import HealthCheckRequest, HealthStub
from userservice.rpc import (
    Call,
    ResourceExhaustedError,
    Server,
    UnavailableError,
    connect,
)
from userservice.rpc.details import ErrorInfo, RetryInfo
from userservice.rpc.health import Health
from userservice.rpc.middleware.buckets import Buckets
from userservice.rpc.middleware.callers import address_of, caller_of
from userservice.rpc.middleware.concurrency_limit import ConcurrencyLimit
from userservice.rpc.middleware.load_shedding import LATE_TURNS, LoadShedding
from userservice.rpc.middleware.rate_limits import RateTable, SubjectRates, around_authentication
from userservice.rpc.middleware.rates import Rate, RateError, parse_rate
from userservice.rpc.subject import Subject, SubjectKind
from userservice.rpc.target import host_and_port
from userservice.rpc.testing import ChannelFor

GET = "/inventory.v1.InventoryService/GetStock"
PICK = "/inventory.v1.InventoryService/PickItems"
CHECK = "/grpc.health.v1.Health/Check"


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def call_from(*address: Any, method: str = GET, subject: str | None = None) -> Call:
    """A call that came from this socket address."""
    stream: Any = SimpleNamespace(peer_name=host_and_port(address) if address else "unix")
    call = Call(stream, method)
    if subject is not None:
        call.subject = Subject(subject, SubjectKind.USER, {})
    return call


# Rates, as operators write them


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("*=100/s", Rate("*", 100, 100)),
        (f"{GET}=10/s burst 20", Rate(GET, 10, 20)),
        (" /inventory.v1.InventoryService/* = 30/min ", Rate(GET[:-8] + "*", 0.5, 30)),
        ("*=0.5/s", Rate("*", 0.5, 1)),
        ("*=3600/h burst 1 each message", Rate("*", 1, 1, messages=True)),
    ],
)
def test_a_rate_is_read(text: str, rate: Rate) -> None:
    """Its burst is its count, where it says none."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is no rate; one is like"),
        ("100/s", "'100/s' is no rate"),
        ("*=100", "is no rate"),
        ("*=100/d", "is no rate"),
        ("*=-1/s", "is no rate"),
        ("*=\u0661/s", "is no rate"),  # a digit, but not of ASCII
        ("*=100/s burst", "is no rate"),
        ("*=100/s burst 2 each massage", "is no rate"),
        ("*=0/s", "a rate is above 0"),
        ("*=1/s burst 0", "a burst is 1 or more"),
        ("CreateUser=1/s", "'CreateUser' names no methods; write *, /package.Service/"),
        ("/a.B/C*=1/s", "names no methods"),
        ("=1/s", "'' names no methods"),
    ],
)
def test_what_is_no_rate_is_told(text: str, said: str) -> None:
    """With an example of one."""
    with pytest.raises(RateError) as caught:
        parse_rate(text)
    assert said in str(caught.value)


def test_a_rate_for_a_method_that_is_not_served_is_told() -> None:
    """It would limit nothing, and nobody would see that."""
    RateTable([parse_rate("*=1/s"), Rate(GET, 1, 1), Rate(GET[:-8] + "*", 1, 1)]).check([GET])
    for methods in (f"{GET}s", "/inventory.v2.InventoryService/*"):
        with pytest.raises(RateError, match="which is not served"):
            RateTable([Rate(methods, 1, 1)]).check([GET])


# Callers


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        (("192.0.2.1", 50_000), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 50_000, 0, 0), "2001:db8:1:2::/64"),
        (("::ffff:192.0.2.1", 50_000, 0, 0), "192.0.2.1"),
        (("fe80::1%eth0", 50_000, 0, 2), "fe80::/64"),
        ((), "unix"),
    ],
)
def test_an_address_is_a_caller_without_its_port(address: tuple[Any, ...], caller: str) -> None:
    """And of IPv6, it is the network: one subscriber has all of it."""
    assert address_of(call_from(*address)) == caller_of(call_from(*address)) == caller


def test_a_subject_is_a_caller_wherever_it_calls_from() -> None:
    """And no address can be the same caller, whatever a subject is called."""
    here, there = (call_from(host, 1, subject="ann") for host in ("192.0.2.1", "192.0.2.2"))
    assert caller_of(here) == caller_of(there)
    assert caller_of(call_from("192.0.2.1", 1, subject="192.0.2.1")) != address_of(here)


# Buckets


def test_a_debt_is_not_forgotten_for_the_sake_of_new_callers() -> None:
    """An attacker with many addresses cannot make the server forget what one of them owes."""
    buckets = Buckets(burst=1, per_s=1, most=100)
    assert buckets.of("attacker", 1).take(1)
    for number in range(10_000):
        bucket = buckets.of(f"helper {number}", 1)
        bucket.take(1)
    assert not buckets.of("attacker", 1.5).take(1.5)
    assert buckets.of("attacker", 2).take(2)


def test_callers_without_a_place_share_buckets() -> None:
    """So there is a bound on what all of them may do together."""
    buckets = Buckets(burst=1, per_s=0.001, most=100)
    taken = sum(buckets.of(f"helper {number}", 1).take(1) for number in range(20_000))
    assert 100 < taken <= 100 + 1_024
    assert len(buckets) <= 100 + 1_024


def test_a_bucket_that_filled_up_gives_its_place() -> None:
    """To forget it loses nothing."""
    buckets = Buckets(burst=1, per_s=1, most=2)
    for caller, now in (("ann", 1.0), ("bob", 1.5), ("cid", 2.1)):
        assert buckets.of(caller, now).take(now)
    assert len(buckets) == 2
    assert not buckets.of("bob", 2.2).take(2.2)
    assert not buckets.of("cid", 2.2).take(2.2)


def test_ten_thousand_callers_have_buckets_of_their_own_in_little_memory() -> None:
    """A few MiB; and many more do not make it grow."""
    tracemalloc.start()
    try:
        buckets = Buckets(burst=5, per_s=1)
        callers = [f"192.0.{n >> 8}.{n & 255}" for n in range(10_000)]
        before = tracemalloc.get_traced_memory()[0]
        for caller in callers:
            assert buckets.of(caller, 1).take(1)
        assert len(buckets) == 10_000
        assert tracemalloc.get_traced_memory()[0] - before < 4 * 2**20
        for number in range(20_000):
            buckets.of(f"more {number}", 1).take(1)
        assert tracemalloc.get_traced_memory()[0] - before < 8 * 2**20
    finally:
        tracemalloc.stop()


# Rate limits


def test_each_caller_has_a_rate_of_its_own() -> None:
    """One that is used up says how long to wait."""
    clock = Clock()
    (limit,), _ = around_authentication(RateTable([Rate("*", 10, 2)], clock=clock))
    ann, bob = call_from("192.0.2.1", 1), call_from("192.0.2.2", 1)
    limit.before(ann)
    limit.before(ann)
    with pytest.raises(ResourceExhaustedError, match=r"another in 0\.1 s") as caught:
        limit.before(ann)
    info, retry = caught.value.detail(ErrorInfo), caught.value.detail(RetryInfo)
    assert info is not None
    assert (info.reason, info.domain, info.metadata) == (
        "RATE_LIMITED",
        "grpc.io",
        {"methods": "*"},
    )
    assert retry is not None
    assert retry.retry_delay is not None
    assert retry.retry_delay.total_seconds() == pytest.approx(0.1)
    limit.before(bob)
    clock.now += 0.1
    limit.before(ann)


def test_the_closest_rate_counts_and_no_other() -> None:
    """The method's, or else its service's, or else that of all."""
    service = "/inventory.v1.InventoryService/*"
    table = RateTable([Rate("*", 1, 1), Rate(service, 1, 1), Rate(GET, 1, 1)], clock=Clock())
    for method in (GET, PICK, "/other.Service/Method"):
        table.spend(method, "ann")
        with pytest.raises(ResourceExhaustedError):
            table.spend(method, "ann")
    with pytest.raises(ResourceExhaustedError):
        table.spend("/other.Service/AnotherMethod", "ann")


def test_health_can_always_be_asked_unless_a_rate_names_it() -> None:
    """A supervisor that cannot ask would restart the server."""
    table = RateTable([Rate("*", 1, 1)], clock=Clock())
    for _ in range(10):
        table.spend(CHECK, "ann")
    table = RateTable([Rate("/grpc.health.v1.Health/*", 1, 1)], clock=Clock())
    table.spend(CHECK, "ann")
    with pytest.raises(ResourceExhaustedError):
        table.spend(CHECK, "ann")


def test_a_subject_pays_instead_of_its_address() -> None:
    """Many subjects may share an address; a subject has one rate on all its addresses."""
    table = RateTable([Rate("*", 1, 2)], clock=Clock())
    (before,), (after,) = around_authentication(table)

    def make(host: str, subject: str | None) -> None:
        call = call_from(host, 1)
        before.before(call)
        if subject is not None:
            call.subject = Subject(subject, SubjectKind.USER, {})
        after.before(call)

    for subject in ("ann", "bob", "cid", "ann"):
        make("192.0.2.1", subject)
    with pytest.raises(ResourceExhaustedError):
        make("192.0.2.2", "ann")
    # Whoever authenticates nobody pays with the address, and then cannot even try.
    make("192.0.2.3", None)
    make("192.0.2.3", None)
    with pytest.raises(ResourceExhaustedError):
        make("192.0.2.3", "dan")


async def test_messages_count_where_the_rate_says_so(stock: Stock) -> None:
    """A stream that sends too many ends, and has its answers until then."""
    rates = [Rate(PICK, 0.001, 4, messages=True)]
    before, after = around_authentication(RateTable(rates))
    async with ChannelFor([stock], middleware=[*before, *after]) as channel:
        client = InventoryClient(channel)
        picks = client.pick_items([PickItemsRequest(count=n) for n in range(9)])
        picked = [(await anext(picks)).left for _ in range(3)]  # the call itself counts too
        with pytest.raises(ResourceExhaustedError, match="too many calls"):
            await anext(picks)
        assert picked == [0, 1, 2]
        for _ in range(5):
            await client.get_stock(GetStockRequest(item="four"))


def test_messages_cost_nothing_where_no_rate_counts_them() -> None:
    """Nobody hears of them."""
    _, after = around_authentication(RateTable([Rate("*", 1, 1)]))
    assert [type(one) for one in after] == [SubjectRates]


# Concurrency


async def test_a_caller_has_so_many_calls_under_way(stock: Stock) -> None:
    """One more is refused; when one has ended, there may be another."""
    limit = ConcurrencyLimit(2)
    async with ChannelFor([stock, Health({stock: []})], middleware=[limit]) as channel:
        client = InventoryClient(channel)
        slow = [
            asyncio.create_task(client.get_stock(GetStockRequest(item="slow"))) for _ in range(2)
        ]
        while len(stock.seen) < 2:
            await asyncio.sleep(0)
        with pytest.raises(ResourceExhaustedError, match="2 calls are under way") as caught:
            await client.get_stock(GetStockRequest(item="four"))
        info = caught.value.detail(ErrorInfo)
        assert info is not None
        assert (info.reason, info.metadata) == ("TOO_MANY_CALLS_UNDER_WAY", {"limit": "2"})
        assert caught.value.detail(RetryInfo) is not None
        await HealthStub(channel).check(HealthCheckRequest())
        slow[0].cancel()
        await asyncio.wait(slow[:1])
        while True:  # until the server has heard of it
            try:
                await client.get_stock(GetStockRequest(item="four"))
            except ResourceExhaustedError:
                continue
            break
        stock.go_on.set()
        await slow[1]
        await client.get_stock(GetStockRequest(item="four"))
    assert len(limit) == 0


# Load shedding


def test_a_late_loop_is_overloaded_only_when_it_stays_late() -> None:
    """And it is well again when it is half as late."""
    shedding = LoadShedding(0.2)
    for _ in range(LATE_TURNS - 1):
        shedding.observe(5)
    shedding.observe(0.15)
    for _ in range(LATE_TURNS - 1):
        shedding.observe(5)
    found = [shedding.overloaded]
    for lag_s in (0.3, 0.15, 0.05):
        shedding.observe(lag_s)
        found.append(shedding.overloaded)
    assert found == [False, True, True, False]


async def test_an_overloaded_server_refuses_calls_but_not_health(stock: Stock) -> None:
    """With UNAVAILABLE, and a time to come back, which is not the same for all."""
    waits = iter([0.5, 1.25])
    shedding = LoadShedding(0.2, jitter=lambda _least, _most: next(waits))
    async with ChannelFor([stock, Health({stock: []})], middleware=[shedding]) as channel:
        client = InventoryClient(channel)
        shedding.overloaded = True
        for wait_s in (0.5, 1.25):
            with pytest.raises(UnavailableError, match="too much to do") as caught:
                await client.get_stock(GetStockRequest(item="four"))
            retry = caught.value.detail(RetryInfo)
            assert retry is not None
            assert retry.retry_delay is not None
            assert retry.retry_delay.total_seconds() == wait_s
        await HealthStub(channel).check(HealthCheckRequest())
        shedding.overloaded = False
        await client.get_stock(GetStockRequest(item="four"))


async def test_the_loop_is_measured() -> None:
    """A loop that is held up for longer than it may be is seen to be."""
    shedding = LoadShedding(1e-9)  # every loop is so late
    async with shedding.measuring(), asyncio.timeout(5):
        while not shedding.overloaded:
            await asyncio.sleep(0.01)
    assert len(asyncio.all_tasks()) == 1


async def test_a_server_that_is_held_up_refuses_calls_until_it_is_not(stock: Stock) -> None:
    """Here by a handler that computes, and lets the loop have a turn now and then."""
    shedding = LoadShedding(0.1)
    async with (
        ChannelFor([stock], middleware=[shedding]) as channel,
        shedding.measuring(),
        asyncio.timeout(20),
    ):
        client = InventoryClient(channel)

        async def is_served() -> bool:
            try:
                await client.get_stock(GetStockRequest(item="four"))
            except UnavailableError:
                return False
            return True

        while await is_served():
            time.sleep(0.2)  # noqa: ASYNC251  # it holds up the loop
        while not await is_served():
            await asyncio.sleep(0.01)


# On sockets


async def test_a_real_server_limits_by_address_over_all_connections(stock: Stock) -> None:
    """A new connection is no new caller."""
    before, after = around_authentication(RateTable([Rate("*", 0.001, 3)]))
    server = Server([stock], middleware=[*before, *after])
    await server.start("127.0.0.1", 0)
    statuses = []
    for _ in range(5):
        async with connect(server.addresses[0]) as channel:
            try:
                await InventoryClient(channel).get_stock(GetStockRequest(item="four"))
                statuses.append(Status.OK)
            except ResourceExhaustedError as error:
                statuses.append(error.status)
    await server.drain(0)
    assert statuses == [Status.OK] * 3 + [Status.RESOURCE_EXHAUSTED] * 2
