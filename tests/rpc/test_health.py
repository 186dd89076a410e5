"""Health: Check, Watch and List, of each service and of the server as a whole."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from inventory.service import InventoryService
from userservice._gen.grpc.health.v1 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthStub,
)
from userservice._gen.grpc.health.v1 import HealthCheckResponseServingStatus as ServingStatus
from userservice.rpc import NotFoundError, Server, connect
from userservice.rpc.health import OVERALL, Health, ServiceStatus

NAME = "inventory.v1.InventoryService"


@pytest.fixture
def status() -> ServiceStatus:
    """Whether the inventory serves; the tests change it."""
    serving = ServiceStatus()
    serving.set(True)
    return serving


@pytest.fixture
async def health(status: ServiceStatus) -> AsyncIterator[HealthStub]:
    """The health service of a server whose inventory has that status."""
    inventory = InventoryService()
    server = Server([inventory, Health({inventory: [status], OVERALL: []})])
    await server.start("127.0.0.1", 0)
    async with server, connect(server.addresses[0]) as channel:
        yield HealthStub(channel)


async def test_check_tells_the_status_now(health: HealthStub, status: ServiceStatus) -> None:
    """SERVING, NOT_SERVING, and NOT_FOUND for a service that is not there."""
    request = HealthCheckRequest(service=NAME)
    assert (await health.check(request)).status is ServingStatus.SERVING
    status.set(False)
    assert (await health.check(request)).status is ServingStatus.NOT_SERVING
    assert (await health.check(HealthCheckRequest())).status is ServingStatus.SERVING
    with pytest.raises(NotFoundError):
        await health.check(HealthCheckRequest(service="nobody"))


async def test_watch_tells_every_change(health: HealthStub, status: ServiceStatus) -> None:
    """The status now, and whenever it changes; SERVICE_UNKNOWN for one that is not there."""
    changes = health.watch(HealthCheckRequest(service=NAME))
    assert (await anext(changes)).status is ServingStatus.SERVING
    status.set(False)
    assert (await anext(changes)).status is ServingStatus.NOT_SERVING
    unknown = health.watch(HealthCheckRequest(service="nobody"))
    assert (await anext(unknown)).status is ServingStatus.SERVICE_UNKNOWN
    for stream in (changes, unknown):
        await stream.aclose()  # type: ignore[attr-defined]  # an async generator
    await asyncio.sleep(0)


async def test_list_tells_the_status_of_all(health: HealthStub, status: ServiceStatus) -> None:
    """Every service by its name, and the server as a whole by the empty one (gRFC A90)."""
    status.set(False)
    assert (await health.list(HealthListRequest())).statuses == {
        "": HealthCheckResponse(status=ServingStatus.SERVING),
        NAME: HealthCheckResponse(status=ServingStatus.NOT_SERVING),
    }
