"""Every detail of google.rpc, with all its fields, between grpcio and us, both ways."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from tests.rpc.peers import Stock

from inventory._gen.inventory.v1 import GetStockRequest, GetStockResponse
from inventory.client import InventoryClient
from userservice.rpc import (
    FailedPreconditionError,
    ResourceExhaustedError,
    Server,
    connect,
    details,
)
from userservice.rpc.middleware.rate_limits import RateTable, around_authentication
from userservice.rpc.middleware.rates import Rate
from userservice.wire.protobuf import decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GET = "/inventory.v1.InventoryService/GetStock"


def message_types(
    descriptors: Iterable[Any], outer: str = "", pb: Any = error_details_pb2
) -> Iterator[tuple[str, Any]]:
    """Yield the messages of a file, by our names and with Google's classes."""
    for descriptor in descriptors:
        if not descriptor.GetOptions().map_entry:
            kind = getattr(pb, descriptor.name)
            yield outer + descriptor.name, kind
            yield from message_types(descriptor.nested_types, outer + descriptor.name, kind)


KINDS = dict(message_types(error_details_pb2.DESCRIPTOR.message_types_by_name.values()))
# What stands in details by itself; the others are parts of these.
WHOLE = [name for name, kind in KINDS.items() if kind.DESCRIPTOR.containing_type is None]


def filled(kind: Any) -> Any:
    """Return a message with something in each of its fields, twice where it takes several.

    Numbers are whole microseconds, where they are times: a ``timedelta`` has no more.
    """
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is None:
            item = f"{field.name} ☂" if field.type == FieldDescriptor.TYPE_STRING else 7_000
            if hasattr(value, "append"):
                value.extend([item, item])
            else:
                setattr(message, field.name, item)
        elif field.message_type.GetOptions().map_entry:
            value["one"], value["two"] = "first", "second"
        elif hasattr(value, "add"):
            for _ in range(2):
                value.add().CopyFrom(filled(type(value.add())))
            del value[1::2]
        else:
            value.CopyFrom(filled(type(value)))
    return message


def ours(name: str) -> Any:
    """Return our message, with the same in it as Google's."""
    return decode(getattr(details, name), filled(KINDS[name]).SerializeToString())


def test_every_message_of_google_rpc_is_there() -> None:
    """All of error_details.proto, also the messages within others."""
    assert set(details.__all__) == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_every_field_is_kept(name: str) -> None:
    """What Google's runtime writes, we read and write again; nothing is an unknown field."""
    message = ours(name)
    again = KINDS[name].FromString(encode(message))
    assert again == filled(KINDS[name])
    for field in KINDS[name].DESCRIPTOR.fields:
        assert getattr(message, field.name)


class Failing(Stock):
    """Fails with each detail that is asked for."""

    async def get_stock(self, message: GetStockRequest) -> GetStockResponse:
        names = WHOLE if message.item == "all" else [message.item]
        raise FailedPreconditionError("as asked ☂", [ours(name) for name in names])


def called(address: str, item: str) -> grpc.RpcError:
    """Return how a call of grpcio's fails."""
    with grpc.insecure_channel(address) as channel:
        method = channel.unary_unary(GET)
        with pytest.raises(grpc.RpcError) as caught:
            method(encode(GetStockRequest(item=item)), timeout=10)
    return caught.value


def unpacked(status: Any) -> list[Any]:
    """Return the details of a google.rpc.Status, in Google's classes."""
    found = []
    for packed in status.details:
        found.append(KINDS[packed.TypeName().rpartition(".")[2]]())
        assert packed.Unpack(found[-1])
    return found


async def test_grpcio_reads_each_detail_of_ours() -> None:
    """By its own `rpc_status.from_call`; one at a time, and all of them together."""
    server = Server([Failing()])
    await server.start("127.0.0.1", 0)
    for item in (*WHOLE, "all"):
        error = await asyncio.to_thread(called, server.addresses[0], item)
        status = rpc_status.from_call(error)
        assert (status.code, status.message) == (9, "as asked ☂")
        names = WHOLE if item == "all" else [item]
        assert unpacked(status) == [filled(KINDS[name]) for name in names]
    await server.drain(0)


async def test_grpcio_reads_how_long_it_has_to_wait() -> None:
    """A caller beyond its rate."""
    before, after = around_authentication(RateTable([Rate("*", 0.1, 1)]))
    server = Server([Failing()], middleware=[*before, *after])
    await server.start("127.0.0.1", 0)
    codes = []
    for _ in range(2):
        error = await asyncio.to_thread(called, server.addresses[0], "Help")
        codes.append(error.code())
    info, retry = unpacked(rpc_status.from_call(error))
    assert codes == [grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert (info.reason, dict(info.metadata)) == ("RATE_LIMITED", {"methods": "*"})
    assert 5 < retry.retry_delay.ToTimedelta().total_seconds() <= 10
    await server.drain(0)


class FailingByGrpcio(grpc.GenericRpcHandler):
    """Fails with each detail that is asked for, as grpcio's servers do."""

    def service(self, handler_call_details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self.fail)

    def fail(self, request: bytes, context: Any) -> None:
        item = decode(GetStockRequest, request).item
        status = status_pb2.Status(code=8, message="as asked ☂")
        for name in WHOLE if item == "all" else [item]:
            status.details.add().Pack(filled(KINDS[name]))
        context.abort_with_status(rpc_status.to_status(status))


@pytest.fixture
def grpcio_address() -> Iterator[str]:
    """Where a server of grpcio's fails."""
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads)
        server.add_generic_rpc_handlers((FailingByGrpcio(),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait(10)


async def test_our_client_reads_each_detail_of_grpcio_s(grpcio_address: str) -> None:
    """As dataclasses; one at a time, and all of them together."""
    async with connect(grpcio_address) as channel:
        client = InventoryClient(channel, timeout_s=10)
        for item in (*WHOLE, "all"):
            with pytest.raises(ResourceExhaustedError, match="as asked ☂") as caught:
                await client.get_stock(GetStockRequest(item=item))
            names = WHOLE if item == "all" else [item]
            assert list(caught.value.details or ()) == [ours(name) for name in names]
            assert all(caught.value.detail(getattr(details, name)) for name in names)
