"""grpcio's asyncio server with our domain code and storage: everything but our transport.

Health and reflection are served too, as ``userservice serve`` does.
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import grpc
import user_service_pb2
import user_service_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from userservice.users import rules
from userservice.users.creation import Creation, Draft
from userservice.users.feed import LocalFeed
from userservice.users.filter import load_grammar, parse_filter
from userservice.users.model import Change, User
from userservice.users.order import parse_order
from userservice.users.passwords import PasswordHasher
from userservice.users.storage.repository import PageQuery, UserRepository
from userservice.users.storage.urls import open_repository
from userservice.users.tokens import PageToken, Tokens
from userservice.users.watch import user_topic

SERVICE = "userservice.v1.UserService"


class UserService(user_service_pb2_grpc.UserServiceServicer):
    """The methods that are measured, as ``userservice.users.service`` has them."""

    def __init__(self, repository: UserRepository, hasher: PasswordHasher, tokens: Tokens) -> None:
        self._repository = repository
        self._creation = Creation(repository, hasher)
        self._tokens = tokens
        load_grammar()

    async def GetUser(self, request: Any, context: Any) -> Any:  # noqa: N802  # the base's name
        """Return a user; NOT_FOUND where there is none."""
        checks = rules.Checks()
        user_id = checks.check("id", rules.user_id, request.id)
        checks.done()
        assert user_id is not None
        user = await self._repository.get(user_id)
        if user is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such user")
            raise AssertionError("abort raises")
        return _to_message(user)

    async def CreateUser(self, request: Any, context: Any) -> Any:  # noqa: N802  # the base's name
        """Store a user."""
        draft = Draft(request.email, request.name, request.role, request.password)
        return _to_message(await self._creation.create(draft))

    async def ListUsers(self, request: Any, context: Any) -> Any:  # noqa: N802  # the base's name
        """Return the first page of users, by filter and order."""
        checks = rules.Checks()
        size = checks.check("page_size", rules.page_size, request.page_size)
        expression = checks.check("filter", parse_filter, request.filter)
        order = checks.check("order_by", parse_order, request.order_by)
        checks.done()
        assert size is not None
        assert order is not None
        page = await self._repository.page(PageQuery(expression, order, size, after=None))
        total = page.total
        assert total is not None
        next_token = ""
        if page.next is not None:
            token = PageToken(page.next, total)
            next_token = self._tokens.page(token, request.filter, request.order_by)
        return user_service_pb2.ListUsersResponse(
            users=[_to_message(user) for user in page.users],
            next_page_token=next_token,
            total_count=total,
        )


def _to_message(user: User) -> Any:
    created_at, updated_at = Timestamp(), Timestamp()
    created_at.FromDatetime(user.created_at)
    updated_at.FromDatetime(user.updated_at)
    return user_service_pb2.User(
        id=user.id,
        email=user.email,
        name=user.name,
        avatar=user.avatar,
        role=int(user.role),
        created_at=created_at,
        updated_at=updated_at,
    )


async def main(database: str) -> None:
    """Serve until the process is ended."""
    feed = LocalFeed()

    def publish(changes: Sequence[Change]) -> None:
        for change in changes:
            feed.publish(user_topic(change.user.id), change)

    repository = open_repository(database, publish)
    with closing(PasswordHasher()) as hasher:
        tokens = Tokens(await repository.secret("tokens"))
        server = grpc.aio.server()
        service = UserService(repository, hasher, tokens)
        user_service_pb2_grpc.add_UserServiceServicer_to_server(service, server)
        health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
        reflection.enable_server_reflection((SERVICE, reflection.SERVICE_NAME), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print("READY", port, flush=True)
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
