"""The numbers: what a server, a channel or a socket has carried.

A record belongs to the server or the channel that it is about. Who lists it holds it weakly.
"""

import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from weakref import ref

    from userservice.rpc.channel import Channel
    from userservice.rpc.channelz.counted import CountedConnection
    from userservice.rpc.server import Server

_ids: Final = itertools.count(1)  # one row for all kinds: an id names one thing of the process


def new_id() -> int:
    """Return an id that nothing in this process has."""
    return next(_ids)


@dataclass(slots=True)
class Calls:
    """The calls of a server or a channel; times are of the wall clock."""

    started: int = 0
    succeeded: int = 0
    failed: int = 0
    last_started_at: float | None = None

    def start(self, now: float) -> None:
        """Count a call that begins."""
        self.started += 1
        self.last_started_at = now

    def end(self, *, ok: bool) -> None:
        """Count a call that is over; ok is the status OK, and nothing else."""
        if ok:
            self.succeeded += 1
        else:
            self.failed += 1


@dataclass(slots=True)
class Traffic:
    """What passed through one socket; times are of the wall clock."""

    streams_started: int = 0
    streams_succeeded: int = 0
    streams_failed: int = 0
    last_stream_at: float | None = None
    messages_sent: int = 0
    last_sent_at: float | None = None
    messages_received: int = 0
    last_received_at: float | None = None
    keepalives_sent: int = 0

    def end_stream(self, *, ended: bool) -> None:
        """Count a stream that is over; ended is END_STREAM on the side of the server."""
        if ended:
            self.streams_succeeded += 1
        else:
            self.streams_failed += 1


@dataclass(eq=False)
class Record:
    """What servers and channels have in common."""

    id: int = field(default_factory=new_id, init=False)
    calls: Calls = field(default_factory=Calls, init=False)
    sockets: "dict[int, CountedConnection]" = field(default_factory=dict, init=False)
    """The connections that stand, by their ids."""


@dataclass(eq=False)
class ServerRecord(Record):
    """A server.

    Args:
        server: the server.
    """

    server: "ref[Server]"
    _listening: dict[tuple[int, Any], int] = field(default_factory=dict, init=False)

    def listening(self) -> dict[int, Any]:
        """Return the sockets that the server listens on, by their ids."""
        server = self.server()
        sockets = () if server is None else server.sockets
        by_name = {(sock.fileno(), sock.getsockname()): sock for sock in sockets}
        self._listening = {name: self._listening.get(name) or new_id() for name in by_name}
        return {self._listening[name]: sock for name, sock in by_name.items()}


@dataclass(eq=False)
class ChannelRecord(Record):
    """A channel, with its one subchannel: all its connections go to one target.

    Args:
        channel: the channel.
        target: what it was made for.
    """

    channel: "ref[Channel]"
    target: str
    made_at: float = field(default_factory=time.time, init=False)
    subchannel_id: int = field(default_factory=new_id, init=False)
    streams: Calls = field(default_factory=Calls, init=False)
    """The calls that got as far as a connection."""
