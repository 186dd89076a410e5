"""grpcio-health-checking's client asks our server for its health, and watches it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.conftest import Program, ServerProgram


def test_health_from_serving_to_the_end(
    own_server: ServerProgram, start: Callable[..., Program], peers: Any
) -> None:
    """Check, List and Watch say SERVING, NOT_FOUND of a stranger, and NOT_SERVING when stopping."""
    client = start(sys.executable, peers / "python" / "health.py", own_server.address)
    assert json.loads(client.line()) == {
        "check": {
            "": "SERVING",
            "userservice.v1.UserService": "SERVING",
            "nobody": "NOT_FOUND",
        },
        "list": {"": "SERVING", "userservice.v1.UserService": "SERVING"},
        "watch unknown": "SERVICE_UNKNOWN",
    }
    assert client.line() == "SERVING"
    assert own_server.stop() == 0
    assert client.line() == "NOT_SERVING"
    assert client.line() == "UNAVAILABLE"
    assert client.wait() == 0
