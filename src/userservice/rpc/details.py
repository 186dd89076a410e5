"""google.rpc's error details as dataclasses: what a program can read of an error.

Source: google/rpc/error_details.proto, AIP-193.
"""

from userservice._gen.google.rpc import (
    BadRequest,
    BadRequestFieldViolation,
    DebugInfo,
    ErrorInfo,
    Help,
    HelpLink,
    LocalizedMessage,
    PreconditionFailure,
    PreconditionFailureViolation,
    QuotaFailure,
    QuotaFailureViolation,
    RequestInfo,
    ResourceInfo,
    RetryInfo,
)

__all__ = [
    "BadRequest",
    "BadRequestFieldViolation",
    "DebugInfo",
    "ErrorInfo",
    "Help",
    "HelpLink",
    "LocalizedMessage",
    "PreconditionFailure",
    "PreconditionFailureViolation",
    "QuotaFailure",
    "QuotaFailureViolation",
    "RequestInfo",
    "ResourceInfo",
    "RetryInfo",
]
