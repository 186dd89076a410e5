"""channelz of the service: there where it was asked for, and nowhere else."""

import signal

import pytest
from tests.app.processes import Processes, address, stopped

from userservice import GetUserRequest, InvalidArgumentError, UserServiceClient
from userservice.app.serve import ServeSettings, running_server
from userservice.rpc import UnimplementedError
from userservice.rpc.channelz._gen.grpc.channelz.v1 import ChannelzStub, GetServersRequest


@pytest.mark.parametrize(
    ("options", "variables"), [(["--channelz"], {}), ([], {"USERSERVICE_CHANNELZ": "1"})]
)
async def test_it_is_asked_for(
    processes: Processes, options: list[str], variables: dict[str, str]
) -> None:
    """With the option, or the variable: the server tells of its calls."""
    process = processes.start("--port=0", "--database=memory:", *options, **variables)
    async with UserServiceClient(address(process)) as client:
        with pytest.raises(InvalidArgumentError):
            await client.get_user(GetUserRequest(id="none"))
        answer = await ChannelzStub(client.channel).get_servers(GetServersRequest())
        [server] = answer.server
        assert server.data is not None
        assert (server.data.calls_started, server.data.calls_failed) == (2, 1)
        assert len(server.listen_socket) == 1
    stopped(process, signal.SIGTERM)


async def test_it_is_off_otherwise() -> None:
    """The method is unknown, and the connections are the ordinary ones, which count nothing."""
    async with running_server(ServeSettings(port=0, database="memory:")) as server:
        assert "connection_type" not in vars(server)
        async with UserServiceClient(server.addresses[0]) as client:
            with pytest.raises(UnimplementedError):
                await ChannelzStub(client.channel).get_servers(GetServersRequest())
