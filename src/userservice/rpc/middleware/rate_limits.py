"""Rate limits: a token bucket for each caller and each rule.

A caller is its subject where authentication found one, and its address where not. The address
pays first, before it is known who calls: bad tokens are limited too. When the subject is known,
the address gets that back, and the subject pays.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from userservice.rpc.call import Call
from userservice.rpc.details import ErrorInfo, RetryInfo
from userservice.rpc.errors import ResourceExhaustedError
from userservice.rpc.middleware import Middleware
from userservice.rpc.middleware.buckets import MOST, Buckets
from userservice.rpc.middleware.callers import HEALTH, address_of, caller_of
from userservice.rpc.middleware.rates import ANY_METHOD, Rate, RateError
from userservice.wire.bucket import TokenBucket

REASON: Final = "RATE_LIMITED"
_WAIT_MAX_S: Final = 3_600.0


class _Rule:
    """A rate, and what each caller has left of it."""

    def __init__(self, rate: Rate, most: int) -> None:
        self.rate = rate
        self.buckets = Buckets(rate.burst, rate.per_s, most)


class RateTable:
    """The rates of a server, and what each caller has left of each.

    A call falls under one of them: that of its method, or else of its service, or else of all
    methods. Health falls under one that names it, and no other.

    Args:
        rates: what is allowed; of two for the same methods, the last counts.
        clock: tells the time, in seconds.
        most: how many callers are told apart, for each rate.
    """

    def __init__(
        self,
        rates: Iterable[Rate],
        *,
        clock: Callable[[], float] = time.monotonic,
        most: int = MOST,
    ) -> None:
        self._clock = clock
        rules = {rate.methods: _Rule(rate, most) for rate in rates}
        self._any = rules.pop(ANY_METHOD, None)
        self._services = {name[:-1]: rule for name, rule in rules.items() if name[-1] == "*"}
        self._methods = {name: rule for name, rule in rules.items() if name[-1] != "*"}

    def check(self, methods: Iterable[str]) -> None:
        """See that each rate has methods which it is for.

        Args:
            methods: the paths of what is served.

        Raises:
            RateError: one has none; it is misspelt.
        """
        known = set(methods)
        known |= {path[: path.rindex("/") + 1] for path in known}
        for name in (*self._methods, *self._services):
            if name not in known:
                raise RateError(f"a rate is for {name}, which is not served")

    @property
    def counts_messages(self) -> bool:
        """Whether some rate counts messages."""
        rules = (self._any, *self._services.values(), *self._methods.values())
        return any(rule is not None and rule.rate.messages for rule in rules)

    def spend(self, method: str, caller: str, *, message: bool = False) -> None:
        """Count a call, or a message of one.

        Args:
            method: the path of the method.
            caller: who makes it.
            message: whether it is a message.

        Raises:
            ResourceExhaustedError: the caller has none left, and is told how long to wait.
        """
        rule = self._rule_of(method)
        if rule is None or (message and not rule.rate.messages):
            return
        now = self._clock()
        bucket = rule.buckets.of(caller, now)
        if not bucket.take(now):
            raise _too_many(rule.rate, bucket)

    def give_back(self, method: str, caller: str) -> None:
        """Count a call no more, which was counted for this caller."""
        rule = self._rule_of(method)
        if rule is not None:
            rule.buckets.of(caller, self._clock()).give_back()

    def _rule_of(self, method: str) -> _Rule | None:
        rule = self._methods.get(method)
        if rule is not None:
            return rule
        if self._services:
            rule = self._services.get(method[: method.rfind("/") + 1])
            if rule is not None:
                return rule
        return None if method.startswith(HEALTH) else self._any


class AddressRates(Middleware):
    """Counts each call for the address that it came from; goes before authentication."""

    def __init__(self, table: RateTable) -> None:
        self._table = table

    def before(self, call: Call) -> None:
        """Count the call.

        Raises:
            ResourceExhaustedError: there were too many.
        """
        self._table.spend(call.method, address_of(call))


class SubjectRates(Middleware):
    """Counts each call for its subject instead, where it has one; goes after authentication."""

    def __init__(self, table: RateTable) -> None:
        self._table = table

    def before(self, call: Call) -> None:
        """Count the call.

        Raises:
            ResourceExhaustedError: there were too many.
        """
        if call.subject is not None:
            self._table.give_back(call.method, address_of(call))
            self._table.spend(call.method, caller_of(call))


class MessageRates(Middleware):
    """Counts the messages of clients, where a rate says so; goes after authentication."""

    def __init__(self, table: RateTable) -> None:
        self._table = table

    def received(self, call: Call, message: Any) -> None:  # noqa: ARG002  # a hook's parameters
        """Count the message.

        Raises:
            ResourceExhaustedError: there were too many; it ends the call.
        """
        self._table.spend(call.method, caller_of(call), message=True)


def around_authentication(
    table: RateTable,
) -> tuple[Sequence[Middleware], Sequence[Middleware]]:
    """Return the middleware of these rates: what goes before authentication, and after it."""
    after: list[Middleware] = [SubjectRates(table)]
    if table.counts_messages:
        after.append(MessageRates(table))
    return [AddressRates(table)], after


def _too_many(rate: Rate, bucket: TokenBucket) -> ResourceExhaustedError:
    wait_s = min(bucket.wait_s(), _WAIT_MAX_S)
    return ResourceExhaustedError(
        f"too many calls; there may be another in {wait_s:.3g} s",
        [
            ErrorInfo(reason=REASON, domain="grpc.io", metadata={"methods": rate.methods}),
            RetryInfo(retry_delay=timedelta(seconds=wait_s)),
        ],
    )


__all__ = ["RateTable", "around_authentication"]
