"""Our server with constant handlers and some limits, which tells what it holds.

As a program: the limits are its argument, as a JSON object. Whoever connects to the port of
its first line gets a line of JSON: the port of the service, and what is open there now.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys

from tests.bench.servers.betterproto_handlers import Constant

from userservice.rpc import Encoding, Limits, Server


class Telling:
    """Tells what a server holds.

    Args:
        server: the server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def state(self) -> dict[str, int]:
        """Return where the server is, and how much is open."""
        connections = self._server._connections
        return {
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
    limits = Limits(**json.loads(sys.argv[1]))
    server = Server([Constant()], limits=limits, compression=Encoding.GZIP)
    await server.start("127.0.0.1", 0)
    telling = await asyncio.start_server(Telling(server).tell, "127.0.0.1", 0)
    print("READY", telling.sockets[0].getsockname()[1], flush=True)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
