"""Our server with constant handlers."""

import asyncio

from tests.bench.servers.betterproto_handlers import Constant

from userservice.rpc import Server


async def main() -> None:
    """Serve until the process is ended."""
    server = Server([Constant()])
    await server.start("127.0.0.1", 0)
    print("READY", server.addresses[0].rpartition(":")[2], flush=True)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
