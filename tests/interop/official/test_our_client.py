"""The official interop test cases: our client with our server, and with those of others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.interop.official import cases, figures
from tests.interop.official.figures import Figures

from userservice.rpc import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SOAK_CALLS = 40
TOLERANCE_KIB = 4096  # less than half of the messages of a soak


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    """When a test is over and its channel closed, no task of theirs is running."""
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before == {asyncio.current_task()}


@pytest.mark.parametrize("case", cases.CASES)
async def test_case(case: str, address: str) -> None:
    """It does what its description says."""
    async with connect(address) as channel:
        await cases.CASES[case](channel)


async def test_half_duplex(address: str) -> None:
    """The one method that no case calls: the answers come when all requests are there."""
    async with connect(address) as channel:
        await cases.half_duplex(channel)


async def rpc_soak(address: str, calls: int) -> None:
    """Make the calls on one channel."""
    async with connect(address) as channel:
        await cases.rpc_soak(channel, calls)


@pytest.mark.skipif(not figures.are_known(), reason="the system does not tell")
@pytest.mark.parametrize("soak", [rpc_soak, cases.channel_soak])
async def test_soak(soak: Callable[[str, int], Awaitable[None]], address: str) -> None:
    """Many calls succeed, and leave no memory, no task and no file descriptor behind."""
    await soak(address, SOAK_CALLS // 4)
    before = Figures.here()
    await soak(address, SOAK_CALLS)
    after = Figures.here()
    assert after.idle_as(before)
    assert after.resident_kib <= before.resident_kib + TOLERANCE_KIB
