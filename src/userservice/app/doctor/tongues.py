"""Which protocol is spoken on a port, told from the first bytes that come."""

import asyncio
import ssl
from dataclasses import dataclass
from enum import Enum

from userservice.app.doctor.places import Place, dial
from userservice.wire import http2
from userservice.wire.http2.codes import FRAME_SIZE_MIN, PREFACE
from userservice.wire.http2.frames import (
    GOAWAY_SIZE_MIN,
    HEADER_SIZE,
    SETTING_SIZE,
    read_header,
    settings,
)

_READ_MAX = 512
_LINE_MAX = 100
_TLS_ALERT = b"\x15\x03"  # RFC 8446 section 5.1: a record of an alert, of TLS 1.x
_TLS_HANDSHAKE = b"\x16\x03"
# What services say first, or say to what they do not understand (SMTP and FTP, POP3, Redis, IMAP).
_GREETINGS = (b"220", b"+OK", b"-ERR", b"* OK")
_TEXT = frozenset(range(0x20, 0x7F)) | frozenset(b"\r\n\t")

HELLO_HTTP2 = PREFACE + settings({})
"""What an HTTP/2 server answers with its settings."""


class Tongue(Enum):
    """What is spoken; the value is its name for people."""

    HTTP2 = "HTTP/2"
    HTTP1 = "HTTP/1.1"
    TLS = "TLS"
    SSH = "SSH"
    TEXT = "another protocol"
    STRANGE = "bytes of no protocol that is known here"
    SILENT = "nothing"
    CLOSED = "nothing, and closes the connection"
    RESET = "nothing, and resets the connection"


_UNTOLD = (Tongue.SILENT, Tongue.CLOSED, Tongue.RESET, Tongue.STRANGE)


@dataclass(frozen=True, slots=True)
class Heard:
    """What came on a connection.

    Args:
        tongue: which protocol it is.
        line: the first line, or the first bytes.
    """

    tongue: Tongue
    line: str = ""

    @property
    def tells(self) -> bool:
        """Whether it says what is there."""
        return self.tongue not in _UNTOLD


def tongue_of(first: bytes) -> Heard:
    """Return which protocol begins like this."""
    if first.startswith((_TLS_ALERT, _TLS_HANDSHAKE)):
        return Heard(Tongue.TLS)
    if _is_http2(first):
        return Heard(Tongue.HTTP2)
    if not frozenset(first[:_LINE_MAX]) <= _TEXT:
        return Heard(Tongue.STRANGE, first[:16].hex(" "))
    line = first.strip().partition(b"\n")[0].rstrip()[:_LINE_MAX].decode("ascii", "replace")
    if line.startswith("SSH-"):
        return Heard(Tongue.SSH, line)
    # Some servers answer a version that they do not know as HTTP/0.9: with a page alone.
    if line.startswith(("HTTP/1.", "<")):
        return Heard(Tongue.HTTP1, line)
    return Heard(Tongue.TEXT, line)


def _is_http2(first: bytes) -> bool:
    """Tell whether it begins with settings (RFC 9113 section 3.4), or with a refusal."""
    if len(first) < HEADER_SIZE:
        return False
    length_and_kind: int
    stream_id: int
    length_and_kind, _flags, stream_id = read_header(first, 0)
    length, kind = divmod(length_and_kind, 256)
    if kind == http2.FrameType.GOAWAY:
        return stream_id == 0 and GOAWAY_SIZE_MIN <= length <= FRAME_SIZE_MIN
    is_settings = kind == http2.FrameType.SETTINGS and length % SETTING_SIZE == 0
    return is_settings and stream_id == 0


def hello_http1(authority: str) -> bytes:
    """Return what an HTTP/1.1 server answers with a page, or an error."""
    return f"GET / HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode("latin-1")


async def listen(place: Place, said: bytes, timeout_s: float) -> Heard:
    """Say something without TLS, and return what is heard."""
    loop = asyncio.get_running_loop()
    first = b""
    try:
        with await dial(place, timeout_s) as sock:
            async with asyncio.timeout(timeout_s):
                await loop.sock_sendall(sock, said)
                while len(first) < HEADER_SIZE:
                    piece = await loop.sock_recv(sock, _READ_MAX)
                    if not piece:
                        break
                    first += piece
    except TimeoutError:
        return tongue_of(first) if first else Heard(Tongue.SILENT)
    except OSError:
        return tongue_of(first) if first else Heard(Tongue.RESET)
    return tongue_of(first) if first else Heard(Tongue.CLOSED)


async def speaks_tls(place: Place, name: str, timeout_s: float) -> bool:
    """Tell whether a handshake is answered, whatever the answer is."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent that needs trust
    try:
        sock = await dial(place, timeout_s)
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name)
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
    await hang_up(writer)
    return True


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection without waiting for the other side."""
    writer.transport.abort()
    try:
        await writer.wait_closed()
    except OSError:  # why it had ended already
        return
