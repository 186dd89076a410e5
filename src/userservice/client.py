"""The typed client: every method of the contract, as dataclasses in and out."""

import ssl
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from betterproto2.grpclib.grpclib_client import MetadataLike
from grpclib.metadata import Deadline

from userservice._gen.userservice.v1 import (
    AuthServiceStub,
    ChatMessage,
    ListUsersRequest,
    User,
    UserEvent,
    UserServiceStub,
    WatchUserRequest,
)
from userservice.rpc import Channel, Encoding, Keepalive, Limits, ResponseStream, Stub, connect
from userservice.rpc.limits import DEFAULT_LIMITS
from userservice.rpc.middleware import ClientMiddleware
from userservice.rpc.middleware.bearer import BearerToken

_SERVICE = "/userservice.v1.UserService"


class UserServiceClient(Stub, UserServiceStub):
    """Calls a user service; used as an async context manager.

    Every failure is an ``RpcError``, of the class of its status.

    Args:
        target: ``host:port``, ``[v6]:port``, or ``unix:path``.
        timeout_s: how long a call with one request and one reply may take, in
            seconds; None for no limit. Streams have none, unless the call says so.
        metadata: what is sent with every call.
        keepalive: pings that find out whether the server is still there; None for none.
        limits: how much is taken of the server.
        compression: what requests are compressed with.
        tls: for a server with TLS: what ``userservice.rpc.client_context`` returns.
        tls_server_name: the name that its certificate is for, where the target has another.
        token: says who calls: it goes with every call that has no ``authorization`` of its own.
        allow_plaintext_token: whether it may go to other machines without TLS.
        middleware: what sees every call, in its order.

    Raises:
        TargetError: the target is none of these.
        TokenError: the token is none, or others could read it on its way.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:50051",
        *,
        timeout_s: float | None = 30,
        metadata: MetadataLike | None = None,
        keepalive: Keepalive | None = None,
        limits: Limits = DEFAULT_LIMITS,
        compression: Encoding | None = None,
        tls: ssl.SSLContext | None = None,
        tls_server_name: str | None = None,
        token: str | None = None,
        allow_plaintext_token: bool = False,
        middleware: Sequence[ClientMiddleware] = (),
    ) -> None:
        if token is not None:
            plaintext = allow_plaintext_token
            bearer = BearerToken.to(target, tls, token, plaintext=plaintext)
            middleware = [*middleware, bearer]
        channel = connect(
            target,
            keepalive=keepalive,
            limits=limits,
            compression=compression,
            tls=tls,
            tls_server_name=tls_server_name,
            middleware=middleware,
        )
        super().__init__(channel, timeout_s=timeout_s, metadata=metadata)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way end with UNAVAILABLE."""
        self.channel.close()

    def watch_user(
        self,
        message: WatchUserRequest,
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> ResponseStream[UserEvent]:
        """Iterate over the current state of a user, then every revision, until it is deleted.

        Args:
            message: the user's id; with a ``resume_token``, what came after that event.
            timeout: how long the watch may take, in seconds.
            deadline: when the watch must be over.
            metadata: what is sent with the call.
        """
        return self._unary_stream(
            f"{_SERVICE}/WatchUser",
            message,
            UserEvent,
            timeout=timeout,
            deadline=deadline,
            metadata=metadata,
        )

    def chat(
        self,
        messages: AsyncIterable[ChatMessage] | Iterable[ChatMessage],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> ResponseStream[ChatMessage]:
        """Say these messages in the room, and iterate over what everybody says.

        The iteration ends when all messages are said, and what was said until then is
        heard. The room does not wait for slow listeners: whoever is more than 256
        messages behind, also with its own, loses the oldest.

        Args:
            messages: what to say; they are taken one by one, as the server takes them.
            timeout: how long the chat may take, in seconds.
            deadline: when the chat must be over.
            metadata: what is sent with the call.
        """
        return self._stream_stream(
            f"{_SERVICE}/Chat",
            messages,
            ChatMessage,
            ChatMessage,
            timeout=timeout,
            deadline=deadline,
            metadata=metadata,
        )

    async def list_all_users(
        self,
        message: ListUsersRequest | None = None,
        *,
        metadata: MetadataLike | None = None,
    ) -> AsyncGenerator[User, None]:
        """Iterate over every user of a list, page after page.

        Args:
            message: the filter, the order and the size of a page; all users without it.
            metadata: what is sent with each call.
        """
        request = ListUsersRequest() if message is None else message
        while True:
            page = await self.list_users(request, metadata=metadata)
            for user in page.users:
                yield user
            if not page.next_page_token:
                return
            request = replace(request, page_token=page.next_page_token)


class AuthServiceClient(Stub, AuthServiceStub):
    """Signs users in and out, on the connection of a ``UserServiceClient`` or another channel.

    Every failure is an ``RpcError``, of the class of its status.

    Args:
        channel: what ``connect`` returns, or the ``channel`` of a client.
        timeout_s: how long a call may take, in seconds; None for no limit.
        metadata: what is sent with every call.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        timeout_s: float | None = 30,
        metadata: MetadataLike | None = None,
    ) -> None:
        super().__init__(channel, timeout_s=timeout_s, metadata=metadata)
