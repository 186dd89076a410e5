"""grpclib's own server with the constant handlers on betterproto2, and nothing of ours."""

import asyncio
from typing import Any

import grpclib.server
from tests.bench.servers.betterproto_handlers import Constant


async def main() -> None:
    """Serve until the process is ended."""
    server = grpclib.server.Server([Constant()])
    await server.start("127.0.0.1", 0)
    listening: Any = server._server
    print("READY", listening.sockets[0].getsockname()[1], flush=True)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
