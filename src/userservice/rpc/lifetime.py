"""How long connections live: age, idleness, and pings that find out who is gone."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepalive:
    """Pings that find out whether the other side is still there (gRFC A8).

    Args:
        interval_s: between two pings, in seconds; None for no pings.
        timeout_s: how long an answer may take, in seconds; then the connection is closed.
        without_calls: whether to ask also while no call is open.

    Raises:
        ValueError: a time is not more than 0.
    """

    interval_s: float | None = None
    timeout_s: float = 20.0
    without_calls: bool = False

    def __post_init__(self) -> None:
        _expect_positive(self, "interval_s", "timeout_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """How long a server keeps a connection (gRFC A9).

    A connection whose time is over is drained: calls under way may end, new ones go
    elsewhere. Behind a balancer, an age spreads old clients over new servers.

    Args:
        max_age_s: how old a connection may become, in seconds; a tenth more or less, so that
            those which were made together do not end together. None for any age.
        age_grace_s: how long its calls may go on after that, in seconds; None for as long as
            they take.
        max_idle_s: how long it may have no call, in seconds; None for as long as it likes.

    Raises:
        ValueError: a time is not more than 0; the grace may be 0.
    """

    max_age_s: float | None = None
    age_grace_s: float | None = None
    max_idle_s: float | None = None

    def __post_init__(self) -> None:
        _expect_positive(self, "max_age_s", "max_idle_s")
        if self.age_grace_s is not None and not self.age_grace_s >= 0:
            raise ValueError(f"age_grace_s is 0 or more, not {self.age_grace_s!r}")


def _expect_positive(settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} is more than 0, not {value!r}")


FOR_EVER: Final = Lifetime()

SERVER_KEEPALIVE: Final = Keepalive(interval_s=7_200.0, without_calls=True)
"""As gRFC A9 has it: a client that vanished does not hold its connection for ever."""
