"""Every gRPC status as an exception: raised by handlers, and by calls that failed.

A handler raises one of these to end its call with that status; a client gets the
same class back, with the details as typed messages.
"""

from collections.abc import Sequence
from typing import ClassVar, TypeVar

import betterproto2
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from multidict import MultiDict

D = TypeVar("D", bound=betterproto2.Message)

Metadata = MultiDict[str | bytes]


class RpcError(GRPCError):
    """A call ended with a status other than OK.

    Args:
        message: what went wrong, for a developer to read.
        details: messages that a program can read, most often of google.rpc.
        trailing_metadata: the metadata that came after the last message.
    """

    status: Status
    message: str | None
    details: Sequence[betterproto2.Message] | None

    def __init__(
        self,
        status: Status,
        message: str | None = None,
        details: Sequence[betterproto2.Message] | None = None,
        *,
        trailing_metadata: Metadata | None = None,
    ) -> None:
        super().__init__(status, message, details)
        self.trailing_metadata: Metadata = (
            MultiDict() if trailing_metadata is None else trailing_metadata
        )

    def __str__(self) -> str:
        return f"{self.status.name}: {self.message}" if self.message else self.status.name

    def detail(self, kind: type[D]) -> D | None:
        """Return the first detail of this message type, or None."""
        return next((d for d in self.details or () if isinstance(d, kind)), None)


class _StatusError(RpcError):
    """An error whose class is its status."""

    STATUS: ClassVar[Status]

    def __init__(
        self,
        message: str | None = None,
        details: Sequence[betterproto2.Message] | None = None,
        *,
        trailing_metadata: Metadata | None = None,
    ) -> None:
        super().__init__(self.STATUS, message, details, trailing_metadata=trailing_metadata)


class CancelledError(_StatusError):
    """CANCELLED: the call was cancelled, typically by the caller."""

    STATUS = Status.CANCELLED


class UnknownError(_StatusError):
    """UNKNOWN: an error that the server does not explain."""

    STATUS = Status.UNKNOWN


class InvalidArgumentError(_StatusError):
    """INVALID_ARGUMENT: the request is wrong, whatever the state of the server."""

    STATUS = Status.INVALID_ARGUMENT


class DeadlineExceededError(_StatusError):
    """DEADLINE_EXCEEDED: the time given to the call is over."""

    STATUS = Status.DEADLINE_EXCEEDED


class NotFoundError(_StatusError):
    """NOT_FOUND: there is no such resource."""

    STATUS = Status.NOT_FOUND


class AlreadyExistsError(_StatusError):
    """ALREADY_EXISTS: the resource to be created is there already."""

    STATUS = Status.ALREADY_EXISTS


class PermissionDeniedError(_StatusError):
    """PERMISSION_DENIED: the caller is known, and may not do this."""

    STATUS = Status.PERMISSION_DENIED


class ResourceExhaustedError(_StatusError):
    """RESOURCE_EXHAUSTED: a limit or a quota is reached."""

    STATUS = Status.RESOURCE_EXHAUSTED


class FailedPreconditionError(_StatusError):
    """FAILED_PRECONDITION: the state of the server does not allow this now."""

    STATUS = Status.FAILED_PRECONDITION


class AbortedError(_StatusError):
    """ABORTED: lost against a concurrent call; the whole sequence may be tried again."""

    STATUS = Status.ABORTED


class OutOfRangeError(_StatusError):
    """OUT_OF_RANGE: past the end of what there is."""

    STATUS = Status.OUT_OF_RANGE


class UnimplementedError(_StatusError):
    """UNIMPLEMENTED: the server has no such method."""

    STATUS = Status.UNIMPLEMENTED


class InternalError(_StatusError):
    """INTERNAL: an invariant is broken, on either side or in between."""

    STATUS = Status.INTERNAL


class UnavailableError(_StatusError):
    """UNAVAILABLE: the server cannot be reached now; trying again may help."""

    STATUS = Status.UNAVAILABLE


class DataLossError(_StatusError):
    """DATA_LOSS: data is lost or corrupted for good."""

    STATUS = Status.DATA_LOSS


class UnauthenticatedError(_StatusError):
    """UNAUTHENTICATED: the caller did not say who it is, or not validly."""

    STATUS = Status.UNAUTHENTICATED


_BY_STATUS: dict[Status, type[_StatusError]] = {
    kind.STATUS: kind for kind in _StatusError.__subclasses__()
}


def rpc_error(error: GRPCError, trailing_metadata: Metadata | None = None) -> RpcError:
    """Return the error of this status's own class."""
    if isinstance(error, RpcError):
        return error
    return _BY_STATUS[error.status](
        error.message, error.details, trailing_metadata=trailing_metadata
    )
