"""The call that a client makes, as middleware sees it."""

from dataclasses import dataclass, field

from grpclib.metadata import Deadline

from userservice.rpc.errors import Metadata


@dataclass(slots=True, eq=False)  # a call is equal to itself alone, and may be a key
class ClientCall:
    """One call being made.

    Args:
        method: the method's path, such as ``/userservice.v1.UserService/GetUser``.
        target: the server, as the channel was told.
        metadata: what is sent with the call; add to it before it is sent. It may have a token,
            and is not shown with the call.
        deadline: when the call must be over, or None.
    """

    method: str
    target: str
    metadata: Metadata = field(repr=False)
    deadline: Deadline | None
