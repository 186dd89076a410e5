"""What most tests need: a real server in this process, and a client of it."""

from collections.abc import AsyncIterator

import pytest
from tests.certificates import Authority, Files

from userservice import UserServiceClient
from userservice.app.serve import ServeSettings, running_server


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """The address of a user service that keeps its users in memory."""
    async with running_server(ServeSettings(port=0, database="memory:")) as server:
        yield server.addresses[0]


@pytest.fixture
async def client(address: str) -> AsyncIterator[UserServiceClient]:
    """A client of that service."""
    async with UserServiceClient(address, timeout_s=10) as connected:
        yield connected


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of the server's certificate, and of the clients'."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def server_files(authority: Authority) -> Files:
    """The certificate of a server on this machine."""
    return authority.sign("server", "127.0.0.1", "localhost")
