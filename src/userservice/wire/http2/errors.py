"""What can go wrong: through the peer's fault, or because a stream is no longer there."""

from userservice.wire.http2.codes import ErrorCode


class ProtocolError(Exception):
    """The peer broke a rule; the connection cannot go on (RFC 9113 section 5.4.1).

    Args:
        code: what GOAWAY says.
        reason: the rule, with its section.
    """

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code
        self.reason = reason


class StreamError(Exception):
    """The peer broke a rule on one stream; the others go on (RFC 9113 section 5.4.2).

    Args:
        stream_id: the stream that is reset.
        code: what RST_STREAM says.
        reason: the rule, with its section.
    """

    def __init__(self, stream_id: int, code: ErrorCode, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.stream_id = stream_id
        self.code = code
        self.reason = reason


class StreamClosedError(Exception):
    """Nothing can be sent on this stream any more: it was ended or reset."""


class GoingAwayError(Exception):
    """The peer takes no new streams on this connection (RFC 9113 section 6.8)."""


class TooManyStreamsError(Exception):
    """The peer takes no more streams at a time; one must end first (section 5.1.2)."""
