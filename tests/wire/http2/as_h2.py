"""An adapter: what this project's engine and h2 did with a frame, in the same words.

h2 also tells of priorities and of unknown frames, which are without effect, and by how much
a window opened, which is seen at the window. It tells no window that SETTINGS moved.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from tests.wire.http2.joined import REQUEST, RESPONSE, parsed

from userservice.wire import http2
from userservice.wire.http2 import Connection, ErrorCode, Event, Role, Settings, Stream

# What h2 announces of itself.
SETTINGS = Settings(max_concurrent_streams=100, max_header_list_size=65_536)

Told = tuple[Any, ...]


class Outcome(NamedTuple):
    """What a frame did."""

    events: list[Told]
    failure: int | None
    """The error that ended the connection."""
    resets: list[tuple[int, int]]
    """The streams that RST_STREAM was sent on, and why."""


class Windows(NamedTuple):
    """The windows of the connection, and those of each stream: to send, and to receive.

    For receiving, what was read and not given back yet counts too: when it is given back is
    each engine's own affair.
    """

    connection: tuple[int, int]
    streams: dict[int, tuple[int, int]]


def resets(output: bytes) -> list[tuple[int, int]]:
    """Return the streams that the output resets, and why."""
    return [
        (frame.stream_id, int(frame.error_code))
        for frame in parsed(output)
        if type(frame).__name__ == "RstStreamFrame"
    ]


class Ours:
    """The engine under test."""

    def __init__(self, role: Role) -> None:
        self.connection = Connection(role, SETTINGS)
        self.streams: dict[int, Stream] = {}

    def open_stream(self) -> None:
        """Open a stream as a client."""
        stream = self.connection.open_stream(REQUEST)
        self.streams[stream.id] = stream

    def respond(self, stream_id: int, *, end: bool) -> None:
        """Send headers."""
        self.connection.send_headers(self.streams[stream_id], RESPONSE, end_stream=end)

    def reset(self, stream_id: int) -> None:
        """End a stream at once."""
        self.connection.reset(self.streams[stream_id], ErrorCode.CANCEL)

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Give back credit for data."""
        self.connection.acknowledge(self.streams[stream_id], size)

    def receive(self, data: bytes) -> Outcome:
        """Take a frame."""
        self.connection.take_output()
        events = self.connection.receive(data)
        self.streams.update(self.connection.streams)
        for event in events:
            if isinstance(event, http2.RequestReceived):
                self.streams[event.stream.id] = event.stream
        failures = [e.error.code.value for e in events if isinstance(e, http2.ConnectionFailed)]
        sent = resets(self.connection.take_output())
        return Outcome(in_h2_words(events), failures[0] if failures else None, sent)

    def windows(self) -> Windows:
        """Return all windows."""
        connection = self.connection
        return Windows(
            (connection.send_window, connection.receive_window + connection._credit),
            {
                stream.id: (stream.send_window, stream.receive_window + stream.credit)
                for stream in connection.streams.values()
            },
        )


def in_h2_words(events: Sequence[Event]) -> list[Told]:
    """Return this project's events as h2 tells them."""
    words: list[Told] = []
    moved = False
    for event in events:
        if not (moved and event == http2.WindowOpened(None)):
            words += _of_message(event) or _of_connection(event)
        moved = (
            isinstance(event, http2.SettingsReceived)
            and http2.Setting.INITIAL_WINDOW_SIZE in event.changes
        )
    return words


def _of_message(event: Event) -> list[Told]:
    match event:
        case http2.RequestReceived(stream, headers, end):
            return [("RequestReceived", stream.id, tuple(headers.fields)), *_ended(stream, end=end)]
        case http2.ResponseReceived(stream, headers, end):
            return [
                ("ResponseReceived", stream.id, tuple(headers.fields)),
                *_ended(stream, end=end),
            ]
        case http2.InformationReceived(stream, headers):
            return [("InformationalResponseReceived", stream.id, tuple(headers.fields))]
        case http2.TrailersReceived(stream, headers):
            fields = tuple(headers.fields)
            return [("TrailersReceived", stream.id, fields), *_ended(stream, end=True)]
        case http2.DataReceived(stream, data, flow_size, end):
            return [("DataReceived", stream.id, data, flow_size), *_ended(stream, end=end)]
    return []


def _of_connection(event: Event) -> list[Told]:
    words: list[Told] = []
    match event:
        case http2.StreamReset(stream, code, by_peer, _):
            words = [("StreamReset", stream.id, code, by_peer)]
        case http2.WindowOpened(stream):
            words = [("WindowUpdated", 0 if stream is None else stream.id)]
        case http2.SettingsReceived(changes):
            words = [("RemoteSettingsChanged", changes)]
        case http2.SettingsAcknowledged():
            words = [("SettingsAcknowledged",)]
        case http2.PingReceived(payload):
            words = [("PingReceived", payload)]
        case http2.PingAcknowledged(payload):
            words = [("PingAckReceived", payload)]
        case http2.GoawayReceived(last, code, debug):
            words = [("ConnectionTerminated", last, code, debug)]
    return words


def _ended(stream: Stream, *, end: bool) -> list[Told]:
    return [("StreamEnded", stream.id)] if end else []


class Theirs:
    """H2, as grpclib configures it; but that validates headers, and does not decode them."""

    def __init__(self, role: Role) -> None:
        config = h2.config.H2Configuration(
            client_side=role is Role.CLIENT,
            header_encoding=None,
            validate_inbound_headers=True,
            validate_outbound_headers=False,
            normalize_inbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.connection = h2.connection.H2Connection(config)
        if role is Role.CLIENT:
            self.connection.local_settings.enable_push = 0
        self.connection.initiate_connection()

    def open_stream(self) -> None:
        """Open a stream as a client."""
        self.connection.send_headers(self.connection.get_next_available_stream_id(), REQUEST)

    def respond(self, stream_id: int, *, end: bool) -> None:
        """Send headers."""
        self.connection.send_headers(stream_id, RESPONSE, end_stream=end)

    def reset(self, stream_id: int) -> None:
        """End a stream at once."""
        self.connection.reset_stream(stream_id, ErrorCode.CANCEL)

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Give back credit for data."""
        self.connection.acknowledge_received_data(size, stream_id)

    def receive(self, data: bytes) -> Outcome:
        """Take a frame."""
        self.connection.data_to_send()
        events: list[Any] = []
        failure = None
        try:
            events = self.connection.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            failure = int(error.error_code)
        sent = resets(self.connection.data_to_send())
        return Outcome([told for event in events for told in _told(event)], failure, sent)

    def windows(self) -> Windows:
        """Return all windows."""
        connection = self.connection
        received = connection._inbound_flow_control_window_manager
        return Windows(
            (
                connection.outbound_flow_control_window,
                received.current_window_size + received._bytes_processed,
            ),
            {
                stream_id: (
                    stream.outbound_flow_control_window,
                    stream._inbound_window_manager.current_window_size
                    + stream._inbound_window_manager._bytes_processed,
                )
                for stream_id, stream in connection.streams.items()
                if not stream.closed
            },
        )


def _told(event: Any) -> Iterable[Told]:
    name = type(event).__name__
    match event:
        case h2.events.PriorityUpdated() | h2.events.UnknownFrameReceived():
            return
        case (
            h2.events.RequestReceived()
            | h2.events.ResponseReceived()
            | h2.events.InformationalResponseReceived()
            | h2.events.TrailersReceived()
        ):
            fields = tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in event.headers)
            yield name, event.stream_id, fields
        case h2.events.DataReceived():
            yield name, event.stream_id, event.data, event.flow_controlled_length
        case h2.events.StreamReset():
            yield name, event.stream_id, int(event.error_code), event.remote_reset
        case h2.events.WindowUpdated() | h2.events.StreamEnded():
            yield name, event.stream_id
        case h2.events.RemoteSettingsChanged():
            yield name, {int(key): each.new_value for key, each in event.changed_settings.items()}
        case h2.events.PingReceived() | h2.events.PingAckReceived():
            yield name, event.ping_data
        case h2.events.ConnectionTerminated():
            yield (
                name,
                event.last_stream_id,
                int(event.error_code or 0),
                event.additional_data or b"",
            )
        case _:
            yield (name,)
