"""Waiting for what no event tells."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any


async def until(holds: Callable[[], Any], patience_s: float = 5) -> None:
    """Wait until this returns something true, itself or when it is awaited."""
    async with asyncio.timeout(patience_s):
        while True:
            answer = holds()
            if await answer if inspect.isawaitable(answer) else answer:
                return
            await asyncio.sleep(0.005)
