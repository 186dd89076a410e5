"""The official interop test cases that compress; grpc-go's programs have none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from tests.bench.check import Relay
from tests.interop.official import cases, grpcio_cases
from tests.interop.official.wire import compressed_flags

from userservice.rpc import Encoding, connect

if TYPE_CHECKING:
    from tests.interop.conftest import Contract
    from tests.interop.official.conftest import OurServer


def port_of(address: str) -> int:
    """Return the port of an address."""
    return int(address.rpartition(":")[2])


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("case", cases.CLIENT_COMPRESSES)
async def test_our_client_compresses(case: str, encoding: Encoding, our_address: str) -> None:
    """Our server alone knows what was compressed: neither grpcio's nor grpc-go's tells."""
    async with connect(our_address, compression=encoding) as channel:
        await cases.CLIENT_COMPRESSES[case](channel)


@pytest.mark.parametrize("case", cases.CASES)
async def test_all_is_compressed(case: str, address: str) -> None:
    """Nothing else changes where the client compresses what it sends."""
    async with connect(address, compression=Encoding.GZIP) as channel:
        await cases.CASES[case](channel)


@pytest.mark.parametrize("case", cases.SERVER_COMPRESSES)
async def test_our_client_asks_to_compress(case: str, address: str) -> None:
    """The messages are compressed on the wire that should be, and no others."""
    with Relay(port_of(address)) as relay:
        async with connect(f"127.0.0.1:{relay.port}") as channel:
            await cases.SERVER_COMPRESSES[case](channel)
        [received] = relay.received()
    assert compressed_flags(received) == cases.SERVER_COMPRESSED[case]


@pytest.mark.parametrize("case", grpcio_cases.SERVER_COMPRESSES)
def test_grpcio_asks_to_compress(case: str, testing: Contract, our_server: OurServer) -> None:
    """The messages are compressed on the wire that should be, and no others."""
    with Relay(port_of(our_server.address)) as relay:
        with grpc.insecure_channel(f"127.0.0.1:{relay.port}") as channel:
            grpcio_cases.SERVER_COMPRESSES[case](testing.messages, testing.services, channel)
        [received] = relay.received()
    assert compressed_flags(received) == cases.SERVER_COMPRESSED[case]
