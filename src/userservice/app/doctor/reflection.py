"""The messages of server reflection that list services, in v1 and v1alpha alike.

Written by hand, as few as are needed: what grpclib has of them would register in protobuf's
own pool, and takes as long to import as all the rest of a command.
"""

from dataclasses import dataclass
from typing import Final

import betterproto2

VERSIONS: Final = ("v1", "v1alpha")


def path_of(version: str) -> str:
    """Return the method's path."""
    return f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"


@dataclass(eq=False, repr=False)
class ReflectionRequest(betterproto2.Message):
    """Asks for one thing; here for the services, whatever the text is."""

    list_services: "str | None" = betterproto2.field(7, betterproto2.TYPE_STRING, optional=True)


@dataclass(eq=False, repr=False)
class NamedService(betterproto2.Message):
    """A service."""

    name: "str" = betterproto2.field(1, betterproto2.TYPE_STRING)


@dataclass(eq=False, repr=False)
class NamedServices(betterproto2.Message):
    """All services."""

    service: "list[NamedService]" = betterproto2.field(1, betterproto2.TYPE_MESSAGE, repeated=True)


@dataclass(eq=False, repr=False)
class ReflectionResponse(betterproto2.Message):
    """The answer."""

    list_services_response: "NamedServices | None" = betterproto2.field(
        6, betterproto2.TYPE_MESSAGE, optional=True
    )
