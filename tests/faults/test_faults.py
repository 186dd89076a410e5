"""Hostile peers on real sockets, at a small size; `nox -s faults` puts them at full size."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from tests.faults.catalog import FAULTS, Fault
from tests.faults.measure import Attackers, FaultyServer, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="what a process uses is read from /proc"
)

# Catches a loop that stands still, and no busy machine.
P99_MAX_MS = 1_000


@pytest.fixture(scope="session")
def attackers() -> Iterator[Attackers]:
    """The process of the hostile peers."""
    with Attackers() as started:
        yield started


@pytest.fixture(scope="session")
def server_of(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Fault], FaultyServer]]:
    """Our server with the limits of a fault; those with the same limits share it."""
    servers: dict[str, FaultyServer] = {}

    def server_of(fault: Fault) -> FaultyServer:
        limits = fault.limits_of(full=False)
        key = json.dumps(limits)
        if key not in servers:
            log = tmp_path_factory.mktemp("faults") / "server.log"
            servers[key] = FaultyServer(limits, log)
        return servers[key]

    yield server_of
    for server in servers.values():
        server.end()


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_fault_keeps_to_its_budget(
    fault: Fault, server_of: Callable[[Fault], FaultyServer], attackers: Attackers
) -> None:
    """The peer is told, the healthy client is served, and nothing is left."""
    server = server_of(fault)
    outcome = put(fault, server, attackers, full=False)
    assert outcome.misses(P99_MAX_MS) == []
    assert not server.log.read_text()
