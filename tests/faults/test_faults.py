"""Hostile peers on real sockets, at a small size; `nox -s faults` puts them at full size."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.bench.contract import ROOT
from tests.faults import report
from tests.faults.attacks import Saw
from tests.faults.catalog import FAULTS, Fault
from tests.faults.measure import Attackers, FaultyServer, Latencies, Outcome, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="what a process uses is read from /proc"
    ),
]

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


def test_every_fault_is_in_the_document() -> None:
    """`nox -s faults` was run since the last one was added, and every one has a budget there."""
    page = (ROOT / "docs/reference/faults.md").read_text("utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    assert [(row[0], row[-1]) for row in rows] == [
        (line.split(" | ")[0], line.split(" | ")[-1])
        for line in report.table([_outcome(fault) for fault in FAULTS])[2:]
    ]


@pytest.mark.parametrize(
    ("changes", "misses"),
    [
        ({}, []),
        ({"saw": Saw(["left alone"])}, ["the peer saw {'left alone': 1}"]),
        ({"during": Latencies.of([0.3], [0.3])}, ["p99 298 ms"]),
        ({"grown_mib": 8.5}, ["8.5 MiB grown, 8 allowed"]),
        ({"left": {"streams": 3, "calls": 0}}, ["3 streams left"]),
    ],
)
def test_what_is_over_the_budget_is_told(changes: dict[str, Any], misses: list[str]) -> None:
    """What the peer saw, how long others waited, memory, and what was left."""
    outcome = replace(_outcome(FAULTS[0]), **changes)
    assert outcome.misses() == misses
    assert len(report.missed([outcome])) == len(misses)


def test_a_server_that_stands_still_is_not_forgiven() -> None:
    """One call of 500 waits for a second: that is one of a thousand who would have waited."""
    assert Latencies.of([0.0001] * 499 + [1.0], [0.0001] * 500).p99_ms > 900


def _outcome(fault: Fault) -> Outcome:
    quick = Latencies.of([0.001], [0.001])
    return Outcome(fault, Saw(fault.saw), quick, quick, 1.0, "a callback", 0.0, 0.0, {})
