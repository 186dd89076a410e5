"""A name for a call, for people who look for it in logs: the client's own, or one that is made."""

import random
import re
from typing import Final

from userservice.rpc.errors import Metadata

KEY: Final = "x-request-id"

# What UUIDs, hexadecimal digits, base64 and the trace ids of load balancers are made of.
_VALID: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}", re.ASCII).fullmatch


def request_id_of(metadata: Metadata) -> str:
    """Return what the client calls its call, where that can be a name; or else a new one."""
    given = metadata.get(KEY)
    if isinstance(given, str) and _VALID(given):
        return given
    return f"{random.getrandbits(64):016x}"  # need not be hard to guess
