"""The one place that says with which status, and which details, an error ends a call.

Details follow AIP-193: ErrorInfo on every error, BadRequest and ResourceInfo where
they say more.
"""

import datetime

from userservice.rpc import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    RpcError,
    UnauthenticatedError,
    UnavailableError,
)
from userservice.rpc.details import (
    BadRequest,
    BadRequestFieldViolation,
    ErrorInfo,
    ResourceInfo,
    RetryInfo,
)
from userservice.users.errors import (
    EmailTakenError,
    InvalidRequestError,
    NotAllowedError,
    SessionEndedError,
    SignInFailedError,
    StorageUnavailableError,
    TooManyAttemptsError,
    UserGoneError,
    UserNotFoundError,
)

DOMAIN = "userservice.v1"
RESOURCE_TYPE = "userservice.v1.User"
_MESSAGE_MAX = 800  # sent twice, beside all violations: grpcio takes 8 KiB of headers


def rpc_error(error: Exception) -> RpcError | None:
    """Return the status that this error ends a call with, or None for one of another domain."""
    return _of_request(error) or _of_caller(error)


def _of_request(error: Exception) -> RpcError | None:
    """Of what is asked for."""
    match error:
        case InvalidRequestError():
            message = str(error)
            if len(message) > _MESSAGE_MAX:
                message = f"{message[:_MESSAGE_MAX]}..."
            return InvalidArgumentError(message, [_bad_request(error), _info("INVALID_REQUEST")])
        case UserNotFoundError():
            resource = _resource(error.user_id, "There is no such user.")
            return NotFoundError(str(error), [resource, _info("USER_NOT_FOUND", id=error.user_id)])
        case EmailTakenError():
            resource = _resource(error.email, "A user with this email exists.")
            return AlreadyExistsError(str(error), [resource, _info("EMAIL_TAKEN")])
        case StorageUnavailableError():
            message = "the database does not answer; try again"
            return UnavailableError(message, [_info("STORAGE_UNAVAILABLE")])
        case _:
            return None


def _of_caller(error: Exception) -> RpcError | None:
    """Of who asks."""
    match error:
        case NotAllowedError():
            info = _info("NOT_ALLOWED", allowed=error.allowed)
            return PermissionDeniedError(str(error), [info])
        case SignInFailedError():
            return UnauthenticatedError(str(error), [_info("SIGN_IN_FAILED")])
        case SessionEndedError():
            return UnauthenticatedError(str(error), [_info("SESSION_ENDED")])
        case UserGoneError():
            return UnauthenticatedError(str(error), [_info("USER_GONE")])
        case TooManyAttemptsError():
            wait = RetryInfo(retry_delay=datetime.timedelta(seconds=error.wait_s))
            return ResourceExhaustedError(str(error), [wait, _info("TOO_MANY_ATTEMPTS")])
        case _:
            return None


def _bad_request(error: InvalidRequestError) -> BadRequest:
    return BadRequest(
        field_violations=[
            BadRequestFieldViolation(field=violation.field, description=violation.description)
            for violation in error.violations
        ]
    )


def _resource(name: str, description: str) -> ResourceInfo:
    return ResourceInfo(resource_type=RESOURCE_TYPE, resource_name=name, description=description)


def _info(reason: str, **metadata: str) -> ErrorInfo:
    return ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)
