"""The official interop test cases: grpc-js's client with our server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.conftest import Languages
    from tests.interop.official.conftest import OurServer

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
    "client_compressed_unary",
    "client_compressed_streaming",
    "rpc_soak",
    "channel_soak",
]
SOAK_CALLS = 40


@pytest.fixture(scope="module")
def found(languages: Languages, our_server: OurServer, run: Callable[..., Any]) -> Any:
    """What the client found in each case: None where all was well."""
    return run(*languages.official("grpc-js", "client"), our_server.address, str(SOAK_CALLS))


@pytest.mark.parametrize("case", CASES)
def test_case(case: str, found: Any) -> None:
    """It does what its description says."""
    assert found[case] is None


def test_no_other_case_is_run(found: Any) -> None:
    """Each has its test."""
    assert list(found) == CASES
