"""What the doctor says, from evidence alone: no sockets."""

import errno
import json
import re
import socket
import ssl
import string
import time
from typing import Any

import pytest

from userservice.app.doctor import tongues
from userservice.app.doctor.answers import Answer, Broken
from userservice.app.doctor.diagnosis import grpc, reach, tls
from userservice.app.doctor.diagnosis import http2 as http2_signs
from userservice.app.doctor.findings import Finding, Mark, Step
from userservice.app.doctor.handshakes import Agreement, Certificate, Distrust, Handshake
from userservice.app.doctor.places import Attempt, LookedUp, Place
from userservice.app.doctor.report import as_json, is_well, summary
from userservice.app.doctor.tongues import Heard, Tongue, tongue_of
from userservice.app.doctor.words import WORDS, Sign, finding
from userservice.rpc.target import Target
from userservice.wire import http2

PLACE = Place(socket.AF_INET, ("192.0.2.1", 1), "192.0.2.1:1")
PATH = Place(socket.AF_UNIX, "/run/sock", "unix:/run/sock")


def headers(**fields: str) -> http2.HeaderBlock:
    """Return a block of header fields."""
    named = {
        name.replace("_", "-").replace("-status", ":status", 1): value
        for name, value in fields.items()
        if name == "_status"
    }
    named |= {name.replace("_", "-"): value for name, value in fields.items() if name != "_status"}
    return http2.HeaderBlock(tuple(named.items()), 0)


def alert(reason: str) -> ssl.SSLError:
    """Return the error that OpenSSL raises for an alert."""
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize("sign", Sign)
def test_every_sign_has_its_words(sign: Sign) -> None:
    """What is not well is explained; the sentences are whole, and what they name is a fact."""
    words = WORDS[sign]
    assert words.text
    assert not words.text.endswith(".")
    assert bool(words.why) == bool(words.mend) == (words.mark in (Mark.WARN, Mark.FAIL))
    for sentence in (words.why, words.mend):
        assert not sentence or sentence.endswith(".")
        assert "  " not in sentence
    assert re.fullmatch("[a-z0-9-]+", sign.value)


def test_facts_are_written_as_people_write_them() -> None:
    """Lists with commas, numbers as the words ask for; programs get them as they are."""
    found = finding(Sign.NAME_FOUND, host="a.example", addresses=["1", "2"], ms=1.25)
    assert found.text == "a.example is 1, 2, found in 1.2 ms"
    assert found.facts == {"host": "a.example", "addresses": ["1", "2"], "ms": 1.25}


def test_braces_of_a_server_are_only_text() -> None:
    """What a server says is no template."""
    found = finding(Sign.SSH, line="SSH-2.0-{host}{0}")
    assert found.text.endswith("SSH-2.0-{host}{0}")


@pytest.mark.parametrize(
    ("first", "tongue", "line"),
    [
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", Tongue.HTTP2, ""),
        (b"\x00\x00\x08\x07\x00\x00\x00\x00\x00", Tongue.HTTP2, ""),
        (b"\x15\x03\x01\x00\x02\x02\x46", Tongue.TLS, ""),
        (b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n", Tongue.HTTP1, "HTTP/1.1 400 Bad Request"),
        (b"<html><body>no</body></html>", Tongue.HTTP1, "<html><body>no</body></html>"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Tongue.SSH, "SSH-2.0-OpenSSH_9.6"),
        (b"220 mail.example ESMTP\r\n", Tongue.TEXT, "220 mail.example ESMTP"),
        (b"\x00\x00", Tongue.STRANGE, "00 00"),
        (b"\x00\x00\x05\x04\x00\x00\x00\x00\x00", Tongue.STRANGE, "00 00 05 04 00 00 00 00 00"),
        (b"\x00\x00\x06\x04\x00\x00\x00\x00\x01", Tongue.STRANGE, "00 00 06 04 00 00 00 00 01"),
    ],
)
def test_tongues(first: bytes, tongue: Tongue, line: str) -> None:
    """The first bytes tell a protocol."""
    assert tongue_of(first) == Heard(tongue, line)


def test_the_hello_of_http1_is_a_request() -> None:
    """With the name of the host, as HTTP/1.1 wants it."""
    assert tongues.hello_http1("a.example:1").startswith(b"GET / HTTP/1.1\r\nHost: a.example:1\r\n")


@pytest.mark.parametrize(
    ("place", "error", "sign"),
    [
        (PLACE, ConnectionRefusedError(errno.ECONNREFUSED, "x"), Sign.REFUSED),
        (PLACE, TimeoutError(), Sign.CONNECT_TIMEOUT),
        (PLACE, TimeoutError(errno.ETIMEDOUT, "x"), Sign.UNREACHABLE),
        (PLACE, OSError(errno.ENETUNREACH, "x"), Sign.UNREACHABLE),
        (PLACE, OSError(errno.EHOSTUNREACH, "x"), Sign.UNREACHABLE),
        (PLACE, OSError(errno.EPERM, "x"), Sign.CONNECT_FAILED),
        (PATH, FileNotFoundError(errno.ENOENT, "x"), Sign.SOCKET_MISSING),
        (PATH, ConnectionRefusedError(errno.ECONNREFUSED, "x"), Sign.SOCKET_ABANDONED),
        (PATH, PermissionError(errno.EACCES, "x"), Sign.SOCKET_FORBIDDEN),
        (PATH, OSError("AF_UNIX path too long"), Sign.CONNECT_FAILED),
    ],
)
def test_addresses_that_cannot_be_reached(place: Place, error: OSError, sign: Sign) -> None:
    """Each error of the system has its sign, and its words name the address."""
    [found] = reach.of_attempts([Attempt(place, 0.1, error)], 5.0)
    assert found.sign == sign
    assert place.text in found.text


@pytest.mark.parametrize(
    ("found", "sign"),
    [
        (LookedUp([PLACE], 0.01), Sign.NAME_FOUND),
        (LookedUp([PLACE], 2.5), Sign.NAME_SLOW),
        (LookedUp(error=socket.gaierror(socket.EAI_NONAME, "x")), Sign.NAME_UNKNOWN),
        (LookedUp(error=socket.gaierror(socket.EAI_AGAIN, "x")), Sign.NAME_SERVER_SILENT),
        (LookedUp(seconds=5.0, error=TimeoutError()), Sign.NAME_SERVER_SILENT),
    ],
)
def test_look_ups(found: LookedUp, sign: Sign) -> None:
    """A slow name server is told from one that is silent, and from a name that is not there."""
    target = Target(host="users.example", port=1)
    assert reach.of_look_up(target, found, is_address=False).sign == sign


@pytest.mark.parametrize(
    ("reason", "with_certificate", "without"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED",) + (Sign.CLIENT_CERTIFICATE_MISSING,) * 2,
        (
            "TLSV1_ALERT_UNKNOWN_CA",
            Sign.CLIENT_CERTIFICATE_REFUSED,
            Sign.CLIENT_CERTIFICATE_MISSING,
        ),
        (
            "SSLV3_ALERT_BAD_CERTIFICATE",
            Sign.CLIENT_CERTIFICATE_REFUSED,
            Sign.CLIENT_CERTIFICATE_MISSING,
        ),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE",) + (Sign.TLS_REFUSED,) * 2,
        ("TLSV1_ALERT_NO_APPLICATION_PROTOCOL",) + (Sign.ALPN_REFUSED,) * 2,
        ("TLSV1_UNRECOGNIZED_NAME",) + (Sign.TLS_NAME_UNKNOWN,) * 2,
        ("TLSV1_ALERT_PROTOCOL_VERSION",) + (Sign.TLS_VERSION,) * 2,
        ("UNSUPPORTED_PROTOCOL",) + (Sign.TLS_VERSION,) * 2,
        ("TLSV1_ALERT_INTERNAL_ERROR",) + (Sign.TLS_FAILED,) * 2,
    ],
)
def test_alerts(reason: str, with_certificate: Sign, without: Sign) -> None:
    """What the server says in the handshake; an alert about a certificate is about the client's."""
    error = alert(reason)
    assert tls.alert_of(error) is error
    for showed, sign in ((True, with_certificate), (False, without)):
        found = tls.of_alert(error, "a.example", showed_certificate=showed)
        assert found.sign == sign


@pytest.mark.parametrize(
    ("error", "heard", "sign"),
    [
        (alert("WRONG_VERSION_NUMBER"), Heard(Tongue.HTTP2), Sign.TLS_UNEXPECTED),
        (alert("WRONG_VERSION_NUMBER"), Heard(Tongue.STRANGE, "00"), Sign.TLS_FAILED),
        (TimeoutError(), Heard(Tongue.HTTP1, "HTTP/1.1 400"), Sign.TLS_UNEXPECTED),
        (TimeoutError(), Heard(Tongue.SILENT), Sign.TLS_SILENT),
        (ConnectionResetError(), Heard(Tongue.CLOSED), Sign.TLS_CLOSED),
        (alert("DH_KEY_TOO_SMALL"), Heard(Tongue.TLS), Sign.TLS_FAILED),
    ],
)
def test_handshakes_that_fail(error: OSError, heard: Heard, sign: Sign) -> None:
    """What is heard without TLS explains it best."""
    assert tls.of_failed_handshake(error, heard, 5.0).sign == sign


DAY_S = 86_400


def shown(distrust: Distrust | None, *, since_days: float, until_days: float) -> list[Finding]:
    """Return what is said of a certificate whose time begins and ends in so many days."""
    now = time.time()
    certificate = Certificate(
        ("a.example",), "CA", now + since_days * DAY_S, now + until_days * DAY_S
    )
    made = Handshake(None, Agreement("TLSv1.3", "x", "h2"), certificate, distrust)
    return list(tls.of_certificate(made, "b.example"))


@pytest.mark.parametrize(
    ("distrust", "since_days", "until_days", "signs"),
    [
        (None, -10, 80.5, [Sign.CERTIFICATE_TRUSTED]),
        (None, -85, 5.5, [Sign.CERTIFICATE_ENDS_SOON]),
        (Distrust((10, "expired")), -90, -1.5, [Sign.CERTIFICATE_EXPIRED]),
        (Distrust((9, "early")), 1.5, 90, [Sign.CERTIFICATE_NOT_YET]),
        (Distrust((18, "self"), 18), -1, 90, [Sign.CERTIFICATE_SELF_SIGNED]),
        (Distrust((20, "issuer"), 20), -1, 90, [Sign.CERTIFICATE_UNTRUSTED]),
        (Distrust((62, "name"), 0, name_differs=True), -1, 90, [Sign.CERTIFICATE_OTHER_NAME]),
        (Distrust((26, "purpose"), 26), -1, 90, [Sign.CERTIFICATE_REFUSED]),
        # The authority's own time is over.
        (Distrust((10, "certificate has expired")), -1, 90, [Sign.CERTIFICATE_EXPIRED]),
        (Distrust((23, "revoked")), -1, 90, [Sign.CERTIFICATE_REFUSED]),
        (
            Distrust((20, "issuer"), 20, name_differs=True),
            -9,
            -2,
            [Sign.CERTIFICATE_UNTRUSTED, Sign.CERTIFICATE_EXPIRED, Sign.CERTIFICATE_OTHER_NAME],
        ),
    ],
)
def test_certificates(
    distrust: Distrust | None, since_days: float, until_days: float, signs: list[Sign]
) -> None:
    """Every fault is told, and not only the one that OpenSSL meets first."""
    findings = shown(distrust, since_days=since_days, until_days=until_days)
    assert [found.sign for found in findings] == signs


def test_a_certificate_that_cannot_be_read() -> None:
    """There are words for it nevertheless."""
    made = Handshake(None, Agreement("TLSv1.3", "x", "h2"), None, Distrust((66, "weak key"), 66))
    [found] = tls.of_certificate(made, "b.example")
    assert found.text == "the certificate is refused: weak key"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            http2.Settings(),
            "any number of calls at a time, windows of 65,535 bytes, frames up to 16 KiB",
        ),
        (
            http2.Settings(
                max_concurrent_streams=100,
                initial_window_size=4 * 2**20,
                max_header_list_size=8 * 2**10,
            ),
            "100 calls at a time, windows of 4 MiB, frames up to 16 KiB, header lists up to 8 KiB",
        ),
    ],
)
def test_settings_in_words(settings: http2.Settings, said: str) -> None:
    """Sizes have units, and what has no bound says so."""
    text = http2_signs.of_greeting(settings, 0.002, 0.001, 5.0).text
    assert text.startswith(said)
    assert text.endswith("; a ping takes 2.0 ms")


def test_a_ping_without_an_answer_is_a_hint() -> None:
    """Calls may work."""
    found = http2_signs.of_greeting(http2.Settings(), None, 0.001, 5.0)
    assert (found.sign, found.mark) == (Sign.HTTP2_NO_PING, Mark.WARN)


GRPC = {"_status": "200", "content_type": "application/grpc"}


@pytest.mark.parametrize(
    ("answer", "sign", "said"),
    [
        (Answer(0.1, headers(**GRPC, grpc_status="12")), Sign.GRPC, ""),
        (Answer(0.1, headers(**GRPC, grpc_status="7")), Sign.GRPC_ASKS_WHO, "PERMISSION_DENIED"),
        (Answer(0.1, headers(**GRPC, grpc_status="0")), Sign.GRPC_ODD, "OK"),
        (Answer(0.1, headers(**GRPC, grpc_status="14")), Sign.GRPC_UNAVAILABLE, "UNAVAILABLE"),
        (Answer(0.1, headers(**GRPC)), Sign.TRAILERS_LOST, "no status"),
        (Answer(0.1, headers(_status="404")), Sign.HTTP_NO_ROUTE, "404"),
        (Answer(0.1, headers(_status="504")), Sign.HTTP_GATEWAY, "504"),
        (Answer(0.1, headers(_status="407")), Sign.HTTP_ASKS_WHO, "407"),
        (Answer(0.1, headers(_status="308", location="x")), Sign.HTTP_REDIRECT, "to x"),
        (Answer(0.1, headers(_status="304")), Sign.NOT_GRPC, "304"),
        (Answer(0.1, headers(_status="200")), Sign.NOT_GRPC, "without a content-type"),
        (Answer(5.0, broken=Broken.SILENT), Sign.GRPC_SILENT, "within 5 s"),
        (Answer(0.1, broken=Broken.RESET, fault="RST_STREAM X"), Sign.GRPC_RESET, "RST_STREAM X"),
        (Answer(0.1, broken=Broken.LOST, fault="it closed"), Sign.GRPC_LOST, "it closed"),
    ],
)
def test_answers_to_a_method_that_is_not_there(answer: Answer, sign: Sign, said: str) -> None:
    """It is gRPC, or it is told what it is."""
    found = grpc.of_calls(answer, [], 5.0)
    assert found.sign == sign
    assert said in found.text


def test_a_page_is_quoted_on_one_line_and_cut() -> None:
    """Whoever reads it sees what it was, and not all of it."""
    answer = Answer(0.1, headers(_status="502"), body=b"<h1>Bad\n  Gateway</h1>" + b"x" * 5_000)
    found = grpc.of_calls(answer, [], 5.0)
    assert "It says: <h1>Bad Gateway</h1>xxx" in found.why
    assert len(found.why) < 400


@pytest.mark.parametrize(
    ("answer", "sign"),
    [
        (Answer(0.1, headers(**GRPC, grpc_status="12")), Sign.HEALTH_MISSING),
        (Answer(0.1, headers(_status="404")), Sign.HEALTH_MISSING),
        (Answer(0.1, headers(**GRPC, grpc_status="16")), Sign.HEALTH_ASKS_WHO),
        (Answer(0.1, headers(**GRPC, grpc_status="5")), Sign.HEALTH_NO_OVERALL),
        (Answer(0.1, headers(**GRPC, grpc_status="13")), Sign.HEALTH_FAILED),
        (Answer(0.1, headers(**GRPC, grpc_status="0")), Sign.HEALTH_FAILED),
        (Answer(0.1, headers(**GRPC)), Sign.HEALTH_FAILED),
        (Answer(5.0, broken=Broken.SILENT), Sign.HEALTH_FAILED),
    ],
)
def test_health(answer: Answer, sign: Sign) -> None:
    """That there is none is a hint."""
    assert grpc.of_health(answer, None).sign == sign


def test_latency_is_told_by_ranks() -> None:
    """Half, and 99 of 100."""
    found = grpc.of_latency("calls", [n / 1000 for n in range(1, 101)], None)
    assert found.text == "of 100 calls, half took up to 50.5 ms, and 99 % up to 99.0 ms"
    assert found.facts["max_ms"] == 100


# --- The report


WELL = [finding(Sign.NO_NAME, host="::1", addresses=[]), finding(Sign.ALPN_AGREED)]
HINT = finding(Sign.HEALTH_MISSING)
FAULT = finding(Sign.SSH, line="SSH-2.0")


@pytest.mark.parametrize(
    ("findings", "well", "said"),
    [
        (WELL, True, "All is well."),
        ([*WELL, HINT], True, "All is well, with 1 hint."),
        ([*WELL, HINT, HINT], True, "All is well, with 2 hints."),
        ([*WELL, FAULT], False, "Something is wrong: this is an SSH server: SSH-2.0."),
        (
            [FAULT, HINT, FAULT],
            False,
            "Something is wrong: this is an SSH server: SSH-2.0, and 1 more.",
        ),
    ],
)
def test_the_last_line(findings: list[Finding], well: bool, said: str) -> None:
    """Hints are no faults."""
    assert is_well(findings) is well
    assert summary(findings) == said


def test_json_for_programs() -> None:
    """One object on one line, ASCII alone, with every part of a finding."""
    text = as_json("a.example:1", tls=True, findings=[*WELL, finding(Sign.SSH, line="SSH-☂")])
    assert text.isascii()
    assert "\n" not in text
    document: dict[str, Any] = json.loads(text)
    assert (document["target"], document["tls"], document["well"]) == ("a.example:1", True, False)
    assert document["findings"][2] == {
        "step": "http/2",
        "mark": "fail",
        "sign": "ssh",
        "text": "this is an SSH server: SSH-☂",
        "why": WORDS[Sign.SSH].why,
        "mend": WORDS[Sign.SSH].mend,
        "facts": {"line": "SSH-☂"},
    }


def test_steps_are_in_the_order_of_an_examination() -> None:
    """The words of a sign are of one step, and every step has some that are well."""
    well = {words.step for words in WORDS.values() if words.mark is Mark.OK}
    assert well == set(Step)
    names = {
        name for words in WORDS.values() for _, name, _, _ in string.Formatter().parse(words.text)
    }
    assert "" not in names
