"""What users of grpclib know works as it does there: events, streams, its testing, our testing."""

import grpclib.client
import grpclib.server
import grpclib.testing
import pytest
from grpclib.const import Cardinality, Handler, Status
from grpclib.events import (
    RecvInitialMetadata,
    RecvMessage,
    RecvRequest,
    RecvTrailingMetadata,
    SendInitialMetadata,
    SendMessage,
    SendRequest,
    SendTrailingMetadata,
    listen,
)
from grpclib.exceptions import GRPCError, ProtocolError

from inventory._gen.inventory.v1 import (
    GetStockRequest,
    GetStockResponse,
    InventoryServiceBase,
    InventoryServiceStub,
)
from inventory.client import InventoryClient
from userservice.rpc import NotFoundError, connect, current_call, reply_metadata
from userservice.rpc.codec import MessageCodec
from userservice.rpc.testing import ChannelFor

PATH = "/inventory.v1.InventoryService/GetStock"


class Stock(InventoryServiceBase):
    """Says what its call looks like."""

    async def get_stock(self, message: GetStockRequest) -> GetStockResponse:
        if message.item == "none":
            raise NotFoundError("there is none")
        call = current_call()
        call.trailing_metadata["seen"] = str(call.metadata.get("from", "nobody"))
        return GetStockResponse(count=len(message.item))


async def test_a_server_s_events_are_heard_and_obeyed() -> None:
    """What a listener changes is what the handler gets, and what is sent."""
    heard: list[str] = []

    async def on_request(event: RecvRequest) -> None:
        heard.append(f"request {event.method_name} {event.content_type} {event.deadline is None}")
        event.metadata["from"] = "a listener"
        serve = event.method_func

        async def around(stream: "grpclib.server.Stream[object, object]") -> None:
            heard.append("before")
            await serve(stream)
            heard.append("after")

        event.method_func = around

    async def on_received(event: RecvMessage) -> None:
        heard.append(f"received {event.message.item}")
        event.message = GetStockRequest(item="changed")

    async def on_initial(event: SendInitialMetadata) -> None:
        event.metadata["initial"] = "yes"

    async def on_sent(event: SendMessage) -> None:
        event.message = GetStockResponse(count=event.message.count + 1)

    async def on_trailing(event: SendTrailingMetadata) -> None:
        heard.append(f"trailing {event.status.name} {event.metadata['seen']!r}")
        event.metadata["trailing"] = "too"

    joined = ChannelFor([Stock()])
    async with joined as channel:
        listen(joined.server, RecvRequest, on_request)
        listen(joined.server, RecvMessage, on_received)
        listen(joined.server, SendInitialMetadata, on_initial)
        listen(joined.server, SendMessage, on_sent)
        listen(joined.server, SendTrailingMetadata, on_trailing)
        with reply_metadata() as reply:
            stock = await InventoryClient(channel).get_stock(GetStockRequest(item="asked"))
    assert stock.count == len("changed") + 1
    assert (reply.initial["initial"], reply.trailing["trailing"]) == ("yes", "too")
    assert heard == [
        f"request {PATH} application/grpc True",
        "before",
        "received asked",
        "after",
        "trailing OK 'a listener'",
    ]


async def test_a_listener_can_refuse_a_call() -> None:
    """It raises; the handler is not asked, and a domain's error has the status it maps to."""

    async def on_request(event: RecvRequest) -> None:
        raise GRPCError(Status.PERMISSION_DENIED, "not you")

    joined = ChannelFor([Stock()])
    async with joined as channel:
        listen(joined.server, RecvRequest, on_request)
        with pytest.raises(GRPCError, match="not you") as refused:
            await InventoryClient(channel).get_stock(GetStockRequest())
    assert refused.value.status is Status.PERMISSION_DENIED


async def test_a_channel_s_events_are_heard_and_obeyed() -> None:
    """What a listener changes is what is sent, and what the caller gets."""
    heard: list[str] = []

    async def on_request(event: SendRequest) -> None:
        heard.append(f"request {event.method_name}")
        event.metadata["from"] = "the client"

    async def on_sent(event: SendMessage) -> None:
        event.message = GetStockRequest(item=event.message.item + "!")

    async def on_initial(event: RecvInitialMetadata) -> None:
        event.metadata["initial"] = "added"

    async def on_received(event: RecvMessage) -> None:
        heard.append(f"received {event.message.count}")
        event.message = GetStockResponse(count=40)

    async def on_trailing(event: RecvTrailingMetadata) -> None:
        heard.append(f"trailing {event.status.name} {event.metadata['seen']!r}")
        event.metadata["trailing"] = "too"

    async with ChannelFor([Stock()]) as channel:
        listen(channel, SendRequest, on_request)
        listen(channel, SendMessage, on_sent)
        listen(channel, RecvInitialMetadata, on_initial)
        listen(channel, RecvMessage, on_received)
        listen(channel, RecvTrailingMetadata, on_trailing)
        with reply_metadata() as reply:
            stock = await InventoryClient(channel).get_stock(GetStockRequest(item="abc"))
    assert stock.count == 40
    assert (reply.initial["initial"], reply.trailing["trailing"]) == ("added", "too")
    assert heard == [f"request {PATH}", "received 4", "trailing OK 'the client'"]


class Handwritten:
    """A service on grpclib's own stream, without a generated base."""

    async def serve(
        self, stream: "grpclib.server.Stream[GetStockRequest, GetStockResponse]"
    ) -> None:
        """Use every method that grpclib's stream has."""
        request = await stream.recv_message()
        assert request is not None
        assert await stream.recv_message() is None
        assert stream.metadata is not None
        assert stream.metadata["who"] == "me"
        assert stream.deadline is not None
        assert stream.user_agent is not None
        assert stream.user_agent.startswith("grpc-python-grpclib/")
        await stream.send_initial_metadata(metadata={"initial": "sent"})
        with pytest.raises(ProtocolError, match="already sent"):
            await stream.send_initial_metadata()
        await stream.send_message(GetStockResponse(count=1))
        with pytest.raises(ProtocolError, match="already sent"):
            await stream.send_message(GetStockResponse(count=1))
        await stream.send_trailing_metadata(
            status=Status.ABORTED, status_message="try again", metadata={"trailing": "sent"}
        )
        with pytest.raises(ProtocolError, match="already sent"):
            await stream.send_trailing_metadata()

    def __mapping__(self) -> dict[str, Handler]:
        return {
            PATH: Handler(self.serve, Cardinality.UNARY_UNARY, GetStockRequest, GetStockResponse)
        }


async def test_the_streams_are_grpclib_s() -> None:
    """Their methods do and refuse what they do there, on both sides."""
    async with (
        ChannelFor([Handwritten()]) as channel,
        channel.request(
            PATH,
            Cardinality.UNARY_UNARY,
            GetStockRequest,
            GetStockResponse,
            timeout=5,
            metadata={"who": "me"},
        ) as stream,
    ):
        assert isinstance(stream, grpclib.client.Stream)
        assert (stream.initial_metadata, stream.trailing_metadata, stream.peer) == (None,) * 3
        with pytest.raises(ProtocolError, match="not sent"):
            await stream.recv_message()
        with pytest.raises(ProtocolError, match="requires a message"):
            await stream.send_request(end=True)
        await stream.send_request()
        with pytest.raises(ProtocolError, match="already sent"):
            await stream.send_request()
        with pytest.raises(ProtocolError, match="requires a single message"):
            await stream.end()
        await stream.send_message(GetStockRequest(), end=True)
        with pytest.raises(ProtocolError, match="is ended"):
            await stream.send_message(GetStockRequest())
        with pytest.raises(ProtocolError, match="was not received"):
            await stream.recv_trailing_metadata()
        await stream.recv_initial_metadata()
        with pytest.raises(ProtocolError, match="already received"):
            await stream.recv_initial_metadata()
        assert stream.initial_metadata is not None
        assert stream.initial_metadata["initial"] == "sent"
        assert stream.peer is not None
        assert [message async for message in stream] == [GetStockResponse(count=1)]
        with pytest.raises(GRPCError, match="try again") as aborted:
            await stream.recv_trailing_metadata()
        assert aborted.value.status is Status.ABORTED
        assert stream.trailing_metadata is not None
        assert stream.trailing_metadata["trailing"] == "sent"
        with pytest.raises(ProtocolError, match="already received"):
            await stream.recv_trailing_metadata()


async def test_grpclib_s_own_testing_still_serves_our_services() -> None:
    """A service, the codec and a generated stub need nothing else of ours."""
    service = Handwritten()
    async with grpclib.testing.ChannelFor([service], codec=MessageCodec()) as channel:
        with pytest.raises(GRPCError, match="try again"):
            await InventoryServiceStub(channel).get_stock(
                GetStockRequest(), timeout=5, metadata={"who": "me"}
            )


async def test_our_testing_has_all_of_ours() -> None:
    """The handler knows its call, and the error comes back as its own class."""
    async with ChannelFor([Stock()]) as channel:
        client = InventoryClient(channel)
        assert (await client.get_stock(GetStockRequest(item="abc"))).count == 3
        with pytest.raises(NotFoundError, match="there is none"):
            await client.get_stock(GetStockRequest(item="none"))
    async with connect("in-memory:1"):
        pass  # a channel that is never used needs no connection
