"""Middleware of the example: one for its server, and one for its client."""

from collections import Counter

from grpclib.const import Status

from userservice.rpc import Call
from userservice.rpc.client_call import ClientCall
from userservice.rpc.middleware import ClientMiddleware, Middleware, Outcome

PROGRAM = "x-program"


class Tally(Middleware):
    """Counts the calls that ended, by the program that made them."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    def ended(self, call: Call, outcome: Outcome) -> None:
        """Count a call."""
        program = str(call.metadata.get(PROGRAM, "somebody"))[:20]
        self.made[program] += 1
        if outcome.status is not Status.OK:
            self.failed[program] += 1


class Introduction(ClientMiddleware):
    """Says with each call which program makes it."""

    def __init__(self, program: str) -> None:
        self._program = program

    def before(self, call: ClientCall) -> None:
        """Add the name to what is sent."""
        call.metadata[PROGRAM] = self._program
