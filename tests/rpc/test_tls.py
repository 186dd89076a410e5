"""TLS on both sides: what is agreed on, and who is told what where it is not."""

import socket
from collections.abc import AsyncIterator

import pytest
from tests.certificates import Authority, Files
from tests.rpc.peers import Stock

from inventory._gen.inventory.v1 import GetStockRequest
from inventory.client import InventoryClient
from userservice.rpc import Server, connect
from userservice.rpc.tls import ServerTls, client_context


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of the server's certificate, and of the clients'."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def server_files(authority: Authority) -> Files:
    """The certificate of a server on this machine."""
    return authority.sign("server", "127.0.0.1", "localhost")


@pytest.fixture
async def address(server_files: Files, stock: Stock) -> AsyncIterator[str]:
    """Where a server with TLS listens."""
    server = Server([stock])
    sock = socket.create_server(("127.0.0.1", 0))
    await server.listen([sock], ServerTls(server_files.cert, server_files.key))
    async with server:
        yield server.addresses[0]


async def test_a_client_that_knows_the_authority_makes_calls(
    address: str, authority: Authority
) -> None:
    """Nothing else is needed."""
    async with connect(address, tls=client_context(authority.file)) as channel:
        reply = await InventoryClient(channel).get_stock(GetStockRequest(item="bolt"))
    assert reply.count == 4
