"""pyvoy, an Envoy with Python in it, with the application of connectrpc."""

import asyncio

from pyvoy import PyvoyServer


async def main() -> None:
    """Serve until the process is ended."""
    # uvloop is off for every server here: what is compared is what serves on the loop.
    server = PyvoyServer("tests.bench.servers.connect_app", loop="asyncio", stderr=None)
    async with server:
        print("READY", server.listener_port, flush=True)
        await server.wait()


if __name__ == "__main__":
    asyncio.run(main())
