"""The limits on callers of the service: rates, calls under way, and a loop that comes late."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from userservice.rpc import Service
from userservice.rpc.middleware import Middleware
from userservice.rpc.middleware.concurrency_limit import ConcurrencyLimit
from userservice.rpc.middleware.load_shedding import LoadShedding
from userservice.rpc.middleware.rate_limits import RateTable, around_authentication
from userservice.rpc.middleware.rates import Rate


@dataclass(frozen=True, slots=True)
class RateSettings:
    """How much callers may do.

    Args:
        rates: how often each may call which methods; any number of times where none is for it.
        calls_under_way: how many calls each may have under way; None for any number.
        max_lag_s: how late the event loop may come before calls are refused, in seconds; None
            for as late as it likes.
    """

    rates: tuple[Rate, ...] = ()
    calls_under_way: int | None = None
    max_lag_s: float | None = None


@dataclass(frozen=True, slots=True)
class CallerLimits:
    """Middleware, by where it has its place.

    Args:
        before: what goes before authentication.
        after: what goes after it, and before the policy.
    """

    before: Sequence[Middleware] = field(default_factory=list)
    after: Sequence[Middleware] = field(default_factory=list)


@asynccontextmanager
async def caller_limits(
    settings: RateSettings, services: Iterable[Service]
) -> AsyncIterator[CallerLimits]:
    """Return the middleware of the limits, and measure the loop for as long as it is used.

    Args:
        settings: how much callers may do.
        services: what is served.

    Raises:
        RateError: a rate is for a method that is not served.
    """
    before: list[Middleware] = []
    after: list[Middleware] = []
    async with AsyncExitStack() as running:
        if settings.max_lag_s is not None:
            shedding = LoadShedding(settings.max_lag_s)
            await running.enter_async_context(shedding.measuring())
            before.append(shedding)
        if settings.rates:
            table = RateTable(settings.rates)
            table.check(path for service in services for path in service.__mapping__())
            outer, inner = around_authentication(table)
            before += outer
            after += inner
        if settings.calls_under_way is not None:
            after.append(ConcurrencyLimit(settings.calls_under_way))
        yield CallerLimits(before, after)
