"""The ``grpc-timeout`` header (gRPC over HTTP/2, "Timeout")."""

import math
from typing import Final

_UNITS_S: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_DIGITS_MAX: Final = 8
# A timeout is sent with two or three digits, rounded up: the same timeout is then the same
# header, which the other side knows already. Ours is the clock that ends the call.
_STEPS: Final = ((1.0, 1, "m"), (10.0, 10, "m"), (100.0, 100, "m"))


def encode_timeout(timeout_s: float) -> str:
    """Return a timeout as a header's value; never less than it is.

    Args:
        timeout_s: in seconds, 0 or more.
    """
    for limit_s, step_ms, unit in _STEPS:
        if timeout_s < limit_s:
            return f"{math.ceil(timeout_s * 1000 / step_ms) * step_ms}{unit}"
    if timeout_s < 10**_DIGITS_MAX:
        return f"{math.ceil(timeout_s)}S"
    return f"{min(math.ceil(timeout_s / 3600), 10**_DIGITS_MAX - 1)}H"


def decode_timeout(value: str) -> float:
    """Return the seconds that a header's value says.

    Raises:
        ValueError: it is none: 1 to 8 digits and a unit.
    """
    digits, unit = value[:-1], value[-1:]
    if unit not in _UNITS_S or not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"no timeout: {value[:20]!a}")
    if len(digits) > _DIGITS_MAX:
        raise ValueError(f"a timeout of more than {_DIGITS_MAX} digits")
    return int(digits) * _UNITS_S[unit]
