"""The health service: grpclib's plugin, with List, which it lacks (gRFC A90)."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpclib.health.service
from grpclib.const import Cardinality, Handler
from grpclib.health.check import CheckBase, ServiceCheck, ServiceStatus
from grpclib.health.service import OVERALL

from userservice._gen.grpc.health.v1 import (
    HealthCheckResponse,
    HealthCheckResponseServingStatus,
    HealthListRequest,
    HealthListResponse,
)
from userservice.rpc.call import current_call
from userservice.rpc.server import service_name


class Health(grpclib.health.service.Health):
    """Tells whether services can be called: Check, Watch and List.

    Args:
        checks: the checks of each service object, and of ``OVERALL``; a service is
            SERVING when all of them pass. Without ``OVERALL``, the server as a
            whole has the checks of all services.
    """

    def __init__(self, checks: Mapping[Any, Collection[CheckBase]]) -> None:
        every_check = [check for of_service in checks.values() for check in of_service]
        checks = {OVERALL: every_check, **checks}
        super().__init__(checks)
        self._checks_by_name = {service_name(key): of_key for key, of_key in checks.items()}

    async def Watch(self, stream: Any) -> None:  # noqa: N802  # grpclib's
        """Answer Watch: every change of a status, until the server drains."""
        current_call().end_on_drain()
        await super().Watch(stream)

    async def list_statuses(self, stream: Any) -> None:
        """Answer List: the status of every service, now."""
        await stream.recv_message()
        statuses = {}
        for name, checks in self._checks_by_name.items():
            for check in checks:
                await check.__check__()
            statuses[name] = HealthCheckResponse(status=_status(checks))
        await stream.send_message(HealthListResponse(statuses=statuses))

    def __mapping__(self) -> dict[str, Handler]:
        return super().__mapping__() | {
            "/grpc.health.v1.Health/List": Handler(
                self.list_statuses, Cardinality.UNARY_UNARY, HealthListRequest, HealthListResponse
            )
        }


@asynccontextmanager
async def polled(check: CheckBase) -> AsyncIterator[None]:
    """Keep the answer of a check fresh for as long as the block runs.

    Without it, grpclib checks when somebody asks, and tells a watcher first what it
    found the last time.
    """
    await check.__check__()
    changed = await check.__subscribe__()
    try:
        yield
    finally:
        await check.__unsubscribe__(changed)


def _status(checks: Collection[CheckBase]) -> HealthCheckResponseServingStatus:
    serving = all(check.__status__() for check in checks)
    return (
        HealthCheckResponseServingStatus.SERVING
        if serving
        else HealthCheckResponseServingStatus.NOT_SERVING
    )


__all__ = ["OVERALL", "Health", "ServiceCheck", "ServiceStatus", "polled"]
