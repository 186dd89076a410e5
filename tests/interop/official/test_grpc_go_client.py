"""The official interop test cases: grpc-go's own client with our server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.interop.official import figures

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.conftest import Languages, Program
    from tests.interop.official.conftest import OurServer

# What its --test_case takes, but for those that need credentials, several servers or reports
# of load. None compresses.
CASES = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
]
SOAK_CALLS = 200
TOLERANCE_KIB = 4096  # less than a tenth of the messages of a soak


@pytest.fixture
def go_client(
    languages: Languages, our_server: OurServer, start: Callable[..., Program]
) -> Callable[..., None]:
    """Runs grpc-go's client to its end, which must be a good one."""
    host, _, port = our_server.address.rpartition(":")

    def run(case: str, *options: str) -> None:
        program = start(
            *languages.official("grpc-go", "client"),
            *(f"--server_host={host}", f"--server_port={port}", f"--test_case={case}"),
            *options,
        )
        assert program.wait() == 0, program.log.read_text()

    return run


@pytest.mark.parametrize("case", CASES)
def test_case(case: str, go_client: Callable[..., None]) -> None:
    """It ends with 0: everything was as its description says."""
    go_client(case)


@pytest.mark.skipif(not figures.are_known(), reason="the system does not tell")
@pytest.mark.parametrize("case", ["rpc_soak", "channel_soak"])
async def test_soak(case: str, go_client: Callable[..., None], our_server: OurServer) -> None:
    """Many calls succeed, and leave nothing behind in our server."""
    go_client(case, f"--soak_iterations={SOAK_CALLS // 4}")
    before = await our_server.at_rest()
    go_client(case, f"--soak_iterations={SOAK_CALLS}")
    await our_server.came_back_to(before, TOLERANCE_KIB)
