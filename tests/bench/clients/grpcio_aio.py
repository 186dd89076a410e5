"""grpcio's asyncio client, calling GetUser."""

import asyncio

import grpc
import user_service_pb2
import user_service_pb2_grpc
from tests.bench import contract
from tests.bench.clients.pace import Pace
from tests.bench.servers.grpcio_messages import USER


async def main(pace: Pace) -> None:
    """Call as often as it goes."""
    request = user_service_pb2.GetUserRequest(id=contract.USER_ID)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{pace.port}") as channel:
        stub = user_service_pb2_grpc.UserServiceStub(channel)
        # The same limit as our client has.
        await pace.keep(lambda: stub.GetUser(request, timeout=30), USER)


if __name__ == "__main__":
    asyncio.run(main(Pace.from_command_line()))
