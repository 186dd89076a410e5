"""grpcio's server on a pool of threads, with constant handlers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import user_service_pb2
import user_service_pb2_grpc
from tests.bench.servers.grpcio_messages import EVENTS, USER

# As many as the examples of grpcio have.
THREADS = 10


class Constant(user_service_pb2_grpc.UserServiceServicer):
    """Answers without any work of its own."""

    def GetUser(self, request: Any, context: Any) -> Any:  # noqa: N802  # the base's name
        """Return the one user."""
        return USER

    def WatchUser(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802  # the base's name
        """Send as many events as the id says."""
        event = EVENTS[request.resume_token]
        for _ in range(int(request.id)):
            yield event

    def BatchCreateUsers(self, messages: Iterator[Any], context: Any) -> Any:  # noqa: N802  # the base's name
        """Count the messages."""
        return user_service_pb2.BatchCreateUsersResponse(created_count=sum(1 for _ in messages))

    def Chat(self, messages: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802  # the base's name
        """Send every message back."""
        yield from messages


def main() -> None:
    """Serve until the process is ended."""
    server = grpc.server(ThreadPoolExecutor(THREADS))
    user_service_pb2_grpc.add_UserServiceServicer_to_server(Constant(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print("READY", port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
