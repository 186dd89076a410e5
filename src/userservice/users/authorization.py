"""The policy, kept: each call, each message, and calls that are open while it changes.

The role is read from the database for each call. That is one row by its key, under 10 us; a
role that is remembered would have to be forgotten in every process in time, also where
another program changed it.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from userservice.rpc import Call, RpcError
from userservice.rpc.middleware import Middleware
from userservice.rpc.subject import Subject, SubjectKind
from userservice.users import policy
from userservice.users.errors import NotAllowedError, SessionEndedError, UserGoneError, UsersError
from userservice.users.feed import ChangeFeed, Mailbox, Overflow
from userservice.users.model import Change, ChangeKind, Role
from userservice.users.policy import Caller
from userservice.users.sessions import SESSION_CLAIM
from userservice.users.status import rpc_error
from userservice.users.storage.accounts import AccountRepository
from userservice.users.watch import Gap, user_topic

_NOTHING: Final = nullcontext()


@dataclass(slots=True)
class _Admission:
    """A call that was let in.

    Args:
        call: the call.
        subject: who calls.
        caller: what it may do now.
        request: the first message, once it is there.
    """

    call: Call
    subject: Subject
    caller: Caller
    request: Any = None


_admission: ContextVar[_Admission | None] = ContextVar("admission", default=None)


class Authorization(Middleware):
    """Refuses what the policy does not allow; it goes after authentication.

    Args:
        accounts: tells the role of each user.
        feed: tells when it changes.
        exempt: the methods that anybody may call, by their whole paths: those of
            authentication.
        certificates: the roles of callers that show a certificate, by their names.
    """

    def __init__(
        self,
        accounts: AccountRepository,
        feed: ChangeFeed,
        *,
        exempt: Iterable[str],
        certificates: Mapping[str, Role],
    ) -> None:
        self._accounts = accounts
        self._feed = feed
        self._exempt = frozenset(exempt)
        self._certificates = dict(certificates)
        self._watching: set[asyncio.Task[None]] = set()

    async def before(self, call: Call) -> None:
        """Let a call in, or refuse it."""
        if call.method in self._exempt:
            return
        subject = call.subject
        if subject is None:  # authentication comes before; without it, nobody may do anything
            raise UserGoneError
        caller = await self._caller(subject)
        policy.check_call(call.method, caller)
        _admission.set(_Admission(call, subject, caller))

    def around(self, call: Call) -> AbstractContextManager[None]:
        """Look after a call that may be open for long."""
        admission = _admission.get()
        if admission is None or call.method not in policy.STREAMS:
            return _NOTHING
        return self._looked_after(admission)

    def received(self, call: Call, message: Any) -> None:
        """Let a message in, or end the call."""
        admission = _admission.get()
        if admission is None:
            return
        policy.check_request(call.method, admission.caller, message, self._accounts.role_of)
        if admission.request is None:
            admission.request = message

    async def close(self) -> None:
        """Wait until no call is looked after any more."""
        if self._watching:
            await asyncio.wait(self._watching)

    async def _caller(self, subject: Subject) -> Caller:
        """Return what a subject may do now.

        Raises:
            NotAllowedError: it is a certificate without a role.
            UserGoneError: there is no such user.
            SessionEndedError: the user has signed out.
        """
        if subject.kind is SubjectKind.CERTIFICATE:
            named = self._certificates.get(subject.id)
            if named is None:
                raise NotAllowedError(
                    "call this service with this certificate",
                    "certificates whose names have a role",
                )
            return Caller(subject.id, named)
        session = subject.claims.get(SESSION_CLAIM)
        if isinstance(session, str):
            role = await self._accounts.standing(subject.id, session)
            if role is None:
                raise SessionEndedError
        else:
            role = await self._accounts.standing(subject.id)
            if role is None:
                raise UserGoneError
        return Caller(subject.id, role)

    @contextmanager
    def _looked_after(self, admission: _Admission) -> Iterator[None]:
        # Listening comes before another look: what changed after the first one is not missed.
        topic = user_topic(admission.caller.id)
        with self._feed.listen(
            topic, limit=2, overflow=Overflow.KEEP_LATEST, lost=Gap.GAP
        ) as mailbox:
            task = asyncio.create_task(self._look_after(admission, mailbox))
            self._watching.add(task)
            task.add_done_callback(self._watching.discard)
            try:
                yield
            finally:
                task.cancel()

    async def _look_after(self, admission: _Admission, mailbox: Mailbox[Change | Gap]) -> None:
        """End a call as soon as its caller may not make it any more."""
        refusal = await self._refusal(admission)
        while refusal is None:
            if _ends_by_itself(admission, await anext(mailbox)):
                return
            refusal = await self._refusal(admission)
        admission.call.end(refusal)

    async def _refusal(self, admission: _Admission) -> RpcError | None:
        """Ask the policy again, and return what it refuses the call with; None if it does not."""
        method = admission.call.method
        try:
            admission.caller = await self._caller(admission.subject)
            policy.check_call(method, admission.caller)
            if admission.request is not None:
                role_of = self._accounts.role_of
                policy.check_request(method, admission.caller, admission.request, role_of)
        except UsersError as error:
            return rpc_error(error)
        return None


def _ends_by_itself(admission: _Admission, news: Change | Gap) -> bool:
    """Whether it is a watch of its own caller, who is deleted: that is its last event."""
    return (
        isinstance(news, Change)
        and news.kind is ChangeKind.DELETED
        and admission.call.method == f"{policy.USERS}WatchUser"
        and admission.request is not None
        and admission.request.id.lower() == news.user.id
    )
