"""Our client, calling GetUser."""

import asyncio

from tests.bench import contract
from tests.bench.clients.pace import Pace
from tests.bench.servers.betterproto_handlers import USER

from userservice import UserServiceClient
from userservice._gen.userservice.v1 import GetUserRequest


async def main(pace: Pace) -> None:
    """Call as often as it goes."""
    request = GetUserRequest(id=contract.USER_ID)
    async with UserServiceClient(f"127.0.0.1:{pace.port}") as client:
        await pace.keep(lambda: client.get_user(request), USER)


if __name__ == "__main__":
    asyncio.run(main(Pace.from_command_line()))
