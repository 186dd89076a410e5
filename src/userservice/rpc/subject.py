"""Who makes a call, as authentication found it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

__all__ = [
    "Subject",
    "SubjectKind",
]


class SubjectKind(Enum):
    """How a caller showed who it is."""

    USER = "user"
    """By a token that was signed for it."""
    API_TOKEN = "api-token"  # noqa: S105  # the name of a kind
    """By a token that is kept by the server, for programs."""
    CERTIFICATE = "certificate"
    """By the certificate of its connection (mutual TLS)."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Who makes a call.

    Args:
        id: its name: of a user or of an API token's owner, the user's id.
        kind: how it showed that.
        claims: what else is said of it. They may be personal, and are not shown with it.
    """

    id: str
    kind: SubjectKind
    claims: Mapping[str, Any] = field(repr=False)
