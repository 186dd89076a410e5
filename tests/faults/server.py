"""Our server with constant handlers and some limits, which tells what it holds.

As a program: the limits are its argument, as a JSON object. Whoever connects to the port of
its first line gets a line of JSON: the port of the service, and what is open there now.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import Any

from tests.bench.servers.betterproto_handlers import Constant

from userservice.rpc import Encoding, Limits, Server


class Held:
    """Which callback held the event loop for the longest time, of the processor's."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.by = ""
        held, run, clock = self, asyncio.Handle._run, time.thread_time

        def watched(handle: asyncio.Handle) -> None:
            began = clock()
            run(handle)
            took = clock() - began
            if took > held.longest_s:
                held.longest_s = took
                held.by = _name_of(handle)

        asyncio.Handle._run = watched  # type: ignore[assignment]  # asyncio has no hook for it

    def take(self) -> tuple[float, str]:
        """Return it, in milliseconds, and look for the next one."""
        longest = self.longest_s * 1e3, self.by
        self.longest_s, self.by = 0.0, ""
        return longest


def _name_of(handle: Any) -> str:
    callback = getattr(handle, "_callback", None)  # a cancelled handle has none
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return str(getattr(owner.get_coro(), "__qualname__", owner))
    return str(getattr(callback, "__qualname__", callback))


class Telling:
    """Tells what a server holds.

    Args:
        server: the server.
        held: what held its loop.
    """

    def __init__(self, server: Server, held: Held) -> None:
        self._server = server
        self._held = held

    def state(self) -> dict[str, Any]:
        """Return where the server is, how much is open, and what held the loop meanwhile."""
        connections = self._server._connections
        held_ms, by = self._held.take()
        return {
            "held_ms": held_ms,
            "held_by": by,
            "port": int(self._server.addresses[0].rpartition(":")[2]),
            "connections": len(connections),
            "streams": sum(len(each.engine.streams) for each in connections),
            "calls": sum(len(each.calls) for each in connections),
        }

    async def tell(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer who connected."""
        writer.write(json.dumps(self.state()).encode() + b"\n")
        await writer.drain()
        writer.close()


async def main() -> None:
    """Serve until the process is ended."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    held = Held()
    limits = Limits(**json.loads(sys.argv[1]))
    server = Server([Constant()], limits=limits, compression=Encoding.GZIP)
    await server.start("127.0.0.1", 0)
    telling = await asyncio.start_server(Telling(server, held).tell, "127.0.0.1", 0)
    print("READY", telling.sockets[0].getsockname()[1], flush=True)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
