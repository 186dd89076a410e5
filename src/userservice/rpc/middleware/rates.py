"""How often calls may be made, as operators write it: ``/pkg.Service/Method=10/s burst 20``."""

import math
import re
from dataclasses import dataclass
from typing import Final

ANY_METHOD: Final = "*"

_UNITS: Final = {"s": 1, "min": 60, "h": 3_600}
_PATTERN: Final = re.compile(r"\*|/[\w.]+/(\*|\w+)", re.ASCII).fullmatch
_RATE: Final = re.compile(
    r"(?P<count>\d+(\.\d+)?)/(?P<unit>s|min|h)"
    r"( +burst +(?P<burst>\d+))?(?P<messages> +each +message)?",
    re.ASCII,
).fullmatch
_EXAMPLE: Final = "/userservice.v1.UserService/CreateUser=10/s burst 20"


class RateError(ValueError):
    """A text says no rate."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How often each caller may call some methods.

    Args:
        methods: ``*`` for all, ``/package.Service/*``, or the path of one method.
        per_s: how many calls a second, in the long run.
        burst: how many at once.
        messages: whether each message of a client counts as much as a call.
    """

    methods: str
    per_s: float
    burst: int
    messages: bool = False

    def __post_init__(self) -> None:
        if not _PATTERN(self.methods):
            raise RateError(
                f"{self.methods!r} names no methods; write *, /package.Service/*, or the path of "
                "one method"
            )
        if not 0 < self.per_s < math.inf or self.burst < 1:
            raise RateError("a rate is above 0, and a burst is 1 or more")


def parse_rate(text: str) -> Rate:
    """Read a rate: ``METHODS=COUNT/UNIT``, then maybe ``burst COUNT``, and ``each message``.

    Args:
        text: the unit is ``s``, ``min`` or ``h``. Without a burst, it is the count: ``10/min``
            allows ten calls at once, and one more every six seconds.

    Raises:
        RateError: it is none.
    """
    methods, _, rest = text.strip().partition("=")
    found = _RATE(rest.strip())
    if found is None:
        raise RateError(f"{text!r} is no rate; one is like {_EXAMPLE}, *=100/s, or *=1000/min")
    count = float(found["count"])
    burst = int(found["burst"]) if found["burst"] else max(1, math.ceil(count))
    return Rate(
        methods.strip(), count / _UNITS[found["unit"]], burst, found["messages"] is not None
    )


__all__ = ["Rate", "RateError", "parse_rate"]
