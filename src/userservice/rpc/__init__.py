"""gRPC on grpclib, for any betterproto2 service. Knows no user.

Health, reflection and channelz are in modules of their own, ``userservice.rpc.health``,
``userservice.rpc.reflection`` and ``userservice.rpc.channelz``: a program that only calls need
not load them.
"""

from userservice.rpc.call import Call, current_call
from userservice.rpc.channel import Channel, connect
from userservice.rpc.client_stream import ReplyMetadata, reply_metadata
from userservice.rpc.errors import (
    AbortedError,
    AlreadyExistsError,
    CancelledError,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    Metadata,
    NotFoundError,
    OutOfRangeError,
    PermissionDeniedError,
    ResourceExhaustedError,
    RpcError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    UnknownError,
)
from userservice.rpc.identity import Identity
from userservice.rpc.lifetime import Keepalive, Lifetime
from userservice.rpc.limits import Limits
from userservice.rpc.server import Server, Service
from userservice.rpc.server_stream import ErrorMapping
from userservice.rpc.signals import Stop, stop_signals
from userservice.rpc.stub import ResponseStream, Stub
from userservice.rpc.target import TargetError
from userservice.rpc.tls import ServerTls, TlsError, client_context
from userservice.wire.compression import Encoding

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "Call",
    "CancelledError",
    "Channel",
    "DataLossError",
    "DeadlineExceededError",
    "Encoding",
    "ErrorMapping",
    "FailedPreconditionError",
    "Identity",
    "InternalError",
    "InvalidArgumentError",
    "Keepalive",
    "Lifetime",
    "Limits",
    "Metadata",
    "NotFoundError",
    "OutOfRangeError",
    "PermissionDeniedError",
    "ReplyMetadata",
    "ResourceExhaustedError",
    "ResponseStream",
    "RpcError",
    "Server",
    "ServerTls",
    "Service",
    "Stop",
    "Stub",
    "TargetError",
    "TlsError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UnknownError",
    "client_context",
    "connect",
    "current_call",
    "reply_metadata",
    "stop_signals",
]
