"""The service: requests of the contract in, the domain's work, messages of the contract out."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from userservice._gen.google.protobuf import Empty
from userservice._gen.userservice.v1 import (
    BatchCreateUsersResponse,
    ChatMessage,
    CreateUserRequest,
    DeleteUserRequest,
    GetUserRequest,
    ListUsersRequest,
    ListUsersResponse,
    Role,
    UpdateUserRequest,
    User,
    UserEvent,
    UserEventEventType,
    UserServiceBase,
    WatchUserRequest,
)
from userservice.rpc import current_call
from userservice.users import model, rules
from userservice.users.chat import chat
from userservice.users.creation import Creation, Draft
from userservice.users.errors import UserNotFoundError
from userservice.users.feed import ChangeFeed
from userservice.users.filter import load_grammar, parse_filter
from userservice.users.mask import user_update
from userservice.users.order import parse_order
from userservice.users.passwords import PasswordHasher
from userservice.users.storage.repository import PageQuery, UserRepository
from userservice.users.tokens import PageToken, Tokens
from userservice.users.watch import watch

RESUME_TRAILER: Final = "resume-token"
"""The trailer of WatchUser that says after which event to go on."""


class UserService(UserServiceBase):
    """The eight methods of the contract.

    Args:
        repository: where users are kept.
        feed: carries revisions to watchers, and chat to the room.
        hasher: hashes passwords.
        tokens: signs page and resume tokens.
    """

    def __init__(
        self,
        repository: UserRepository,
        feed: ChangeFeed,
        hasher: PasswordHasher,
        tokens: Tokens,
    ) -> None:
        self._repository = repository
        self._feed = feed
        self._creation = Creation(repository, hasher)
        self._tokens = tokens
        load_grammar()

    async def get_user(self, message: GetUserRequest) -> User:
        """Return a user; NOT_FOUND where there is none (AIP-131)."""
        user_id = _checked_id(message.id)
        user = await self._repository.get(user_id)
        if user is None:
            raise UserNotFoundError(user_id)
        return _to_message(user)

    async def create_user(self, message: CreateUserRequest) -> User:
        """Store a user; ALREADY_EXISTS where the email is taken (AIP-133)."""
        return _to_message(await self._creation.create(_draft(message)))

    async def update_user(self, message: UpdateUserRequest) -> User:
        """Change the fields that the mask names; NOT_FOUND where there is no user (AIP-134)."""
        checks = rules.Checks()
        user_id = checks.check("id", rules.user_id, message.id)
        paths = message.update_mask.paths if message.update_mask else []
        update = user_update(checks, paths, message.name, message.avatar, message.role)
        checks.done()
        assert user_id is not None
        user = await self._repository.update(user_id, update)
        if user is None:
            raise UserNotFoundError(user_id)
        return _to_message(user)

    async def delete_user(self, message: DeleteUserRequest) -> Empty:
        """Delete a user; NOT_FOUND where there is none (AIP-135)."""
        user_id = _checked_id(message.id)
        if not await self._repository.delete(user_id):
            raise UserNotFoundError(user_id)
        return Empty()

    async def list_users(self, message: ListUsersRequest) -> ListUsersResponse:
        """Return one page of users, by filter and order (AIP-132, AIP-158, AIP-160)."""
        checks = rules.Checks()
        size = checks.check("page_size", rules.page_size, message.page_size)
        expression = checks.check("filter", parse_filter, message.filter)
        order = checks.check("order_by", parse_order, message.order_by)
        token = checks.check(
            "page_token", lambda text: self._page_token(text, message), message.page_token
        )
        checks.done()
        assert size is not None
        assert order is not None
        page = await self._repository.page(
            PageQuery(expression, order, size, after=None if token is None else token.after)
        )
        total = page.total if token is None else token.total
        assert total is not None
        next_token = ""
        if page.next is not None:
            token = PageToken(page.next, total)
            next_token = self._tokens.page(token, message.filter, message.order_by)
        return ListUsersResponse(
            users=[_to_message(user) for user in page.users],
            next_page_token=next_token,
            total_count=total,
        )

    def _page_token(self, text: str, message: ListUsersRequest) -> PageToken | None:
        return self._tokens.read_page(text, message.filter, message.order_by) if text else None

    async def watch_user(self, message: WatchUserRequest) -> AsyncGenerator[UserEvent, None]:
        """Send the current state of a user, then every revision; NOT_FOUND where there is none.

        The initial metadata is sent when no revision can be missed any more. The stream
        ends with OK after the user was deleted, and with UNAVAILABLE when the server drains.
        The trailers have the token of the last event, from which another server goes on.
        """
        checks = rules.Checks()
        user_id = checks.check("id", rules.user_id, message.id)
        after = None
        if user_id is not None and message.resume_token:
            after = checks.check(
                "resume_token",
                lambda text: self._tokens.read_resume(text, user_id),
                message.resume_token,
            )
        checks.done()
        assert user_id is not None
        call = current_call()
        call.trailing_metadata[RESUME_TRAILER] = message.resume_token
        call.end_on_drain()
        changes = watch(self._repository, self._feed, user_id, after, call.send_initial_metadata)
        async with aclosing(changes):
            async for change in changes:
                token = self._tokens.resume(user_id, change.revision)
                yield UserEvent(
                    type=UserEventEventType(change.kind),
                    user=_to_message(change.user),
                    timestamp=change.time,
                    resume_token=token,
                )
                # Once the event has left whole: where it is cut off, it has to come again.
                call.trailing_metadata[RESUME_TRAILER] = token

    async def batch_create_users(
        self, messages: AsyncIterator[CreateUserRequest]
    ) -> BatchCreateUsersResponse:
        """Store any number of users; a refused one does not stop the others."""
        result = await self._creation.create_all(_draft(message) async for message in messages)
        return BatchCreateUsersResponse(
            created_count=result.created_count,
            failed_emails=result.failed_emails,
            failed_count=result.failed_count,
        )

    async def chat(self, messages: AsyncIterator[ChatMessage]) -> AsyncGenerator[ChatMessage, None]:
        """Send every message of the room, the caller's included, until the caller ends.

        The initial metadata is sent when the caller hears everyone.
        """
        said = ((message.sender_id, message.text) async for message in messages)
        call = current_call()
        call.end_on_drain()
        lines = chat(self._feed, said, call.send_initial_metadata)
        async with aclosing(lines):
            async for line in lines:
                yield ChatMessage(sender_id=line.sender_id, text=line.text, timestamp=line.time)


def _checked_id(value: str) -> str:
    checks = rules.Checks()
    user_id = checks.check("id", rules.user_id, value)
    checks.done()
    assert user_id is not None
    return user_id


def _draft(message: CreateUserRequest) -> Draft:
    return Draft(message.email, message.name, message.role, message.password)


def _to_message(user: model.User) -> User:
    return User(
        id=user.id,
        email=user.email,
        name=user.name,
        avatar=user.avatar,
        role=Role(user.role),
        created_at=user.created_at,
        updated_at=user.updated_at,
    )
