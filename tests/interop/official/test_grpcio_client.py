"""The official interop test cases: grpcio's client with our server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from tests.interop.official import figures, grpcio_cases

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.conftest import Contract
    from tests.interop.official.conftest import OurServer

SOAK_CALLS = 40
TOLERANCE_KIB = 4096  # less than half of the messages of a soak


@pytest.mark.parametrize("case", grpcio_cases.CASES)
def test_case(case: str, testing: Contract, our_server: OurServer) -> None:
    """It does what its description says."""
    with grpc.insecure_channel(our_server.address) as channel:
        grpcio_cases.CASES[case](testing.messages, testing.services, channel)


def rpc_soak(testing: Contract, address: str, calls: int) -> None:
    """Make the calls on one channel."""
    with grpc.insecure_channel(address) as channel:
        grpcio_cases.rpc_soak(testing.messages, testing.services, channel, calls)


def channel_soak(testing: Contract, address: str, calls: int) -> None:
    """Make each call on a channel of its own."""
    grpcio_cases.channel_soak(testing.messages, testing.services, address, calls)


@pytest.mark.skipif(not figures.are_known(), reason="the system does not tell")
@pytest.mark.parametrize("soak", [rpc_soak, channel_soak])
async def test_soak(
    soak: Callable[[Contract, str, int], None], testing: Contract, our_server: OurServer
) -> None:
    """Many calls succeed, and leave nothing behind in our server."""
    soak(testing, our_server.address, SOAK_CALLS // 4)
    before = await our_server.at_rest()
    soak(testing, our_server.address, SOAK_CALLS)
    await our_server.came_back_to(before, TOLERANCE_KIB)
