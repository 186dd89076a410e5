"""The one place that says with which status, and which details, an error ends a call.

Details follow AIP-193: ErrorInfo on every error, BadRequest and ResourceInfo where
they say more.
"""

from userservice.rpc import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    RpcError,
    UnavailableError,
)
from userservice.rpc.details import BadRequest, BadRequestFieldViolation, ErrorInfo, ResourceInfo
from userservice.users.errors import (
    EmailTakenError,
    InvalidRequestError,
    StorageUnavailableError,
    UserNotFoundError,
)

DOMAIN = "userservice.v1"
RESOURCE_TYPE = "userservice.v1.User"
_MESSAGE_MAX = 800  # sent twice, beside all violations: grpcio takes 8 KiB of headers


def rpc_error(error: Exception) -> RpcError | None:
    """Return the status that this error ends a call with, or None for one of another domain."""
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
