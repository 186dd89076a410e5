"""A task that waits for its call goes on as soon as all that was received has been told."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from grpclib.config import Configuration

from userservice.rpc.client_connection import ClientConnection
from userservice.rpc.wakeup import Wakeup

Waiting = Callable[[Coroutine[Any, Any, Any]], asyncio.Future[Any]]

name = contextvars.ContextVar("name", default="nobody")


def c_task(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
    """A task as asyncio makes it."""
    return asyncio.Task(coroutine)


def python_task(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
    """A task of asyncio's own Python code, whose future must look alike."""
    task: asyncio.Future[Any] = asyncio.tasks._PyTask(coroutine)  # type: ignore[attr-defined]  # where the C module is missing, it is Task
    return task


@pytest.fixture(params=[c_task, python_task])
def start(request: pytest.FixtureRequest) -> Waiting:
    """Starts a task of either kind."""
    made: Waiting = request.param
    return made


class Waiter:
    """A task that waits, and notes what becomes of it."""

    def __init__(self) -> None:
        self.wakeup = Wakeup(asyncio.get_running_loop())
        self.seen: list[str] = []

    async def run(self) -> None:
        name.set("the waiter")
        try:
            await self.wakeup
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        self.seen.append(name.get())


async def in_the_loop(call: Callable[[], None]) -> None:
    """Call it as the loop calls a transport: no task is running."""
    asyncio.get_running_loop().call_soon(call)
    await asyncio.sleep(0)


async def test_it_goes_on_at_once(start: Waiting) -> None:
    """In its own context, before the one who woke it goes on."""
    waiter = Waiter()
    task = start(waiter.run())
    await asyncio.sleep(0)
    order = []

    def wake() -> None:
        waiter.wakeup.done = True
        waiter.wakeup.go_on()
        order.extend([*waiter.seen, name.get()])

    await in_the_loop(wake)
    assert order == ["the waiter", "nobody"]
    await task


async def test_it_goes_on_soon(start: Waiting) -> None:
    """A task lets another one go on when its own step is over."""
    waiter = Waiter()
    task = start(waiter.run())
    await asyncio.sleep(0)
    waiter.wakeup.done = True
    waiter.wakeup.go_on_soon()
    assert not waiter.seen
    await task
    assert waiter.seen == ["the waiter"]


async def test_a_wait_can_be_cancelled(start: Waiting) -> None:
    """As with any future; it is then over, for who would wake it."""
    waiter = Waiter()
    task = start(waiter.run())
    await asyncio.sleep(0)
    assert task.cancel()
    assert waiter.wakeup.done
    assert not waiter.wakeup.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waiter.seen == ["cancelled"]


async def test_a_cancellation_after_it_was_woken_is_not_lost(start: Waiting) -> None:
    """It was told to go on, and is cancelled before it does."""
    waiter = Waiter()
    task = start(waiter.run())
    await asyncio.sleep(0)

    def wake_and_cancel() -> None:
        waiter.wakeup.done = True
        task.cancel()
        waiter.wakeup.go_on()

    await in_the_loop(wake_and_cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waiter.seen == ["cancelled"]


async def test_a_timeout_ends_a_wait() -> None:
    """`asyncio.timeout` cancels the task, and takes its cancellation back."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await Wakeup(asyncio.get_running_loop())


def test_one_that_ends_the_program_does_not_keep_the_others() -> None:
    """They go on in the next turn: `asyncio.run` waits for all tasks, which it cancels."""
    ended: list[str] = []

    async def end(wakeup: Wakeup) -> None:
        await wakeup
        raise SystemExit(3)

    async def clean_up(wakeup: Wakeup) -> None:
        try:
            await wakeup
        finally:
            ended.append("clean")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        wakeups = [Wakeup(loop), Wakeup(loop)]
        tasks = [
            asyncio.create_task(each(wakeup))
            for each, wakeup in zip((end, clean_up), wakeups, strict=True)
        ]
        await asyncio.sleep(0)
        for wakeup in wakeups:
            wakeup.done = True
        connection = ClientConnection(Configuration().__for_client__())
        loop.call_soon(connection._let_go_on, wakeups)
        try:
            await asyncio.sleep(5)
        finally:
            assert isinstance(tasks[0].exception(), SystemExit)

    with pytest.raises(SystemExit):
        asyncio.run(main())
    assert ended == ["clean"]
