"""A limit on the calls that one caller has under way at a time, streams among them."""

from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from types import TracebackType
from typing import Final

from userservice.rpc.call import Call
from userservice.rpc.details import ErrorInfo, RetryInfo
from userservice.rpc.errors import ResourceExhaustedError
from userservice.rpc.middleware import Middleware
from userservice.rpc.middleware.callers import HEALTH, caller_of

REASON: Final = "TOO_MANY_CALLS_UNDER_WAY"
_FREE: Final = nullcontext()
# When one of its calls ends is known to the caller alone.
_RETRY: Final = timedelta(seconds=1)


class ConcurrencyLimit(Middleware):
    """Refuses the call of a caller that has so many under way; goes after authentication.

    Calls of the health service do not count.

    Args:
        most: how many may be under way.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._under_way: dict[str, int] = {}  # none of those who have none

    def around(self, call: Call) -> AbstractContextManager[None]:
        """Count the call for as long as it is under way."""
        if call.method.startswith(HEALTH):
            return _FREE
        return _Place(self._under_way, caller_of(call), self._most)

    def __len__(self) -> int:
        return len(self._under_way)


class _Place:
    """One of the calls that a caller may have under way.

    Raises:
        ResourceExhaustedError: when it is entered, and there is none left.
    """

    __slots__ = ("_caller", "_most", "_under_way")

    def __init__(self, under_way: dict[str, int], caller: str, most: int) -> None:
        self._under_way = under_way
        self._caller = caller
        self._most = most

    def __enter__(self) -> None:
        count = self._under_way.get(self._caller, 0)
        if count >= self._most:
            raise ResourceExhaustedError(
                f"{count} calls are under way, which is as many as there may be",
                [
                    ErrorInfo(reason=REASON, domain="grpc.io", metadata={"limit": str(self._most)}),
                    RetryInfo(retry_delay=_RETRY),
                ],
            )
        self._under_way[self._caller] = count + 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        count = self._under_way[self._caller] - 1
        if count:
            self._under_way[self._caller] = count
        else:
            del self._under_way[self._caller]


__all__ = ["ConcurrencyLimit"]
