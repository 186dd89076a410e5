"""What is said of each sign: what it is, why, and how it is mended. All wording is here.

Names in braces are facts. Text that comes from a server is among them: who prints a finding
takes control characters out.
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from userservice.app.doctor.findings import Finding, Mark, Step


class Sign(StrEnum):
    """What can be found; the values stay the same for programs."""

    NOT_LOOKED_AT = "not-looked-at"

    NO_NAME = "no-name"
    NAME_FOUND = "name-found"
    NAME_SLOW = "name-slow"
    NAME_UNKNOWN = "name-unknown"
    NAME_SERVER_SILENT = "name-server-silent"

    CONNECTED = "connected"
    REFUSED = "refused"
    REFUSED_IN_PART = "refused-in-part"
    CONNECT_TIMEOUT = "connect-timeout"
    UNREACHABLE = "unreachable"
    CONNECT_FAILED = "connect-failed"
    SOCKET_MISSING = "socket-missing"
    SOCKET_ABANDONED = "socket-abandoned"
    SOCKET_FORBIDDEN = "socket-forbidden"

    TLS_NOT_ASKED_FOR = "tls-not-asked-for"
    TLS_AGREED = "tls-agreed"
    TLS_EXPECTED = "tls-expected"
    TLS_UNEXPECTED = "tls-unexpected"
    TLS_SILENT = "tls-silent"
    TLS_CLOSED = "tls-closed"
    TLS_VERSION = "tls-version"
    TLS_REFUSED = "tls-refused"
    TLS_FAILED = "tls-failed"
    TLS_NAME_UNKNOWN = "tls-name-unknown"
    CLIENT_CERTIFICATE_MISSING = "client-certificate-missing"
    CLIENT_CERTIFICATE_REFUSED = "client-certificate-refused"

    CERTIFICATE_TRUSTED = "certificate-trusted"
    CERTIFICATE_ENDS_SOON = "certificate-ends-soon"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_YET = "certificate-not-yet"
    CERTIFICATE_SELF_SIGNED = "certificate-self-signed"
    CERTIFICATE_UNTRUSTED = "certificate-untrusted"
    CERTIFICATE_OTHER_NAME = "certificate-other-name"
    CERTIFICATE_REFUSED = "certificate-refused"

    ALPN_AGREED = "alpn-agreed"
    ALPN_MISSING = "alpn-missing"
    ALPN_REFUSED = "alpn-refused"

    HTTP2 = "http2"
    HTTP2_NO_STREAMS = "http2-no-streams"
    HTTP2_NO_PING = "http2-no-ping"
    HTTP2_BROKEN = "http2-broken"
    HTTP2_GOAWAY = "http2-goaway"
    HTTP1 = "http1"
    SSH = "ssh"
    OTHER_PROTOCOL = "other-protocol"
    STRANGE_BYTES = "strange-bytes"
    SILENT = "silent"
    CLOSED = "closed"
    RESET = "reset"
    CLOSED_AFTER_TLS = "closed-after-tls"

    GRPC = "grpc"
    GRPC_ASKS_WHO = "grpc-asks-who"
    GRPC_ODD = "grpc-odd"
    GRPC_BESIDE = "grpc-beside"
    GRPC_UNAVAILABLE = "grpc-unavailable"
    GRPC_SILENT = "grpc-silent"
    GRPC_RESET = "grpc-reset"
    GRPC_LOST = "grpc-lost"
    TRAILERS_LOST = "trailers-lost"
    HTTP_GATEWAY = "http-gateway"
    HTTP_NO_ROUTE = "http-no-route"
    HTTP_ASKS_WHO = "http-asks-who"
    HTTP_REDIRECT = "http-redirect"
    NOT_GRPC = "not-grpc"

    SERVING = "serving"
    NOT_SERVING = "not-serving"
    SERVICE_NOT_SERVING = "service-not-serving"
    HEALTH_MISSING = "health-missing"
    HEALTH_NO_OVERALL = "health-no-overall"
    HEALTH_ASKS_WHO = "health-asks-who"
    HEALTH_FAILED = "health-failed"

    REFLECTION = "reflection"
    REFLECTION_OLD = "reflection-old"
    REFLECTION_MISSING = "reflection-missing"
    REFLECTION_FAILED = "reflection-failed"

    METHOD_OK = "method-ok"
    METHOD_ANSWERS = "method-answers"
    METHOD_STREAMS = "method-streams"
    METHOD_MISSING = "method-missing"
    METHOD_ASKS_WHO = "method-asks-who"
    METHOD_FAILED = "method-failed"

    LATENCY = "latency"
    LATENCY_LOST = "latency-lost"


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of a sign.

    Args:
        step: where it is found.
        mark: how it is meant.
        text: what was found.
        why: what that means.
        mend: what to do about it.
    """

    step: Step
    mark: Mark
    text: str
    why: str = ""
    mend: str = ""


class _Facts(string.Formatter):
    """Writes facts as people do: lists with commas, and what is not there with what is around it.

    In ``{message:? (%s)}``, all after the question mark is left out without a message.
    """

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        if format_spec.startswith("?"):
            return format_spec[1:].replace("%s", str(value)) if value else ""
        text: str = super().format_field(value, format_spec)
        return text


_FORMATTER: Final = _Facts()


def finding(sign: Sign, step: Step | None = None, **facts: Any) -> Finding:
    """Return what is said of a sign.

    Args:
        sign: what was found.
        step: where; only for what was not looked at.
        facts: what the words name, and more for programs.
    """
    words = WORDS[sign]
    text, why, mend = (
        _FORMATTER.vformat(part, (), facts) for part in (words.text, words.why, words.mend)
    )
    return Finding(step or words.step, words.mark, sign.value, text, why, mend, facts)


_NAME, _CONNECT, _TLS, _CERTIFICATE, _ALPN = (
    Step.NAME,
    Step.CONNECT,
    Step.TLS,
    Step.CERTIFICATE,
    Step.ALPN,
)
_HTTP2, _GRPC, _HEALTH, _REFLECTION = Step.HTTP2, Step.GRPC, Step.HEALTH, Step.REFLECTION
_OK, _WARN, _FAIL, _SKIP = Mark.OK, Mark.WARN, Mark.FAIL, Mark.SKIP

WORDS: Final[Mapping[Sign, Words]] = {
    Sign.NOT_LOOKED_AT: Words(_NAME, _SKIP, "cannot be looked at: {cause} has to be mended first"),
    # --- The name
    Sign.NO_NAME: Words(_NAME, _OK, "{host} needs no look-up"),
    Sign.NAME_FOUND: Words(_NAME, _OK, "{host} is {addresses}, found in {ms:.1f} ms"),
    Sign.NAME_SLOW: Words(
        _NAME,
        _WARN,
        "{host} is {addresses}, found in {ms:.0f} ms",
        "Every new connection waits that long for the name server.",
        "See which name servers this machine asks, and whether the first of them answers.",
    ),
    Sign.NAME_UNKNOWN: Words(
        _NAME,
        _FAIL,
        "nobody knows {host}",
        "The name server has no address for this name ({reason}).",
        "Check the spelling. A name of an internal network is known there only: check the name "
        "servers of this machine, or give the address itself.",
    ),
    Sign.NAME_SERVER_SILENT: Words(
        _NAME,
        _FAIL,
        "no answer about {host}",
        "The name server could not be asked ({reason}).",
        "Check the network of this machine and its name servers, and try again; or give the "
        "address itself.",
    ),
    # --- TCP, and Unix sockets
    Sign.CONNECTED: Words(_CONNECT, _OK, "{address} in {ms:.1f} ms"),
    Sign.REFUSED: Words(
        _CONNECT,
        _FAIL,
        "{address} refuses the connection",
        "The machine is there, but no program listens on this port at this address.",
        "Start the server, or correct the port. A server that listens on 127.0.0.1 can be reached "
        "from its own machine only: let it listen on the address that you call.",
    ),
    Sign.REFUSED_IN_PART: Words(
        _CONNECT,
        _WARN,
        "{address} cannot be reached: {reason}",
        "The name has several addresses, and this one is dead. Clients that try it first lose a "
        "moment, and some do not try the others.",
        "Let the server listen there too, or take the address out of the name.",
    ),
    Sign.CONNECT_TIMEOUT: Words(
        _CONNECT,
        _FAIL,
        "{address} does not answer within {timeout_s:g} s",
        "What is sent there gets lost. A firewall drops it, the machine is off, or the address is "
        "that of another one. Clients wait for it as long as they are allowed to.",
        "Check the address, whether the machine runs, and the rules of firewalls on the way.",
    ),
    Sign.UNREACHABLE: Words(
        _CONNECT,
        _FAIL,
        "{address} cannot be reached: {reason}",
        "There is no way from this machine to that address.",
        "Check the network of this machine, a VPN, and whether it has IPv6 where the address is "
        "of that kind.",
    ),
    Sign.CONNECT_FAILED: Words(
        _CONNECT,
        _FAIL,
        "{address} cannot be reached: {reason}",
        "The system says so when a connection is made.",
        "Check the address and the network of this machine.",
    ),
    Sign.SOCKET_MISSING: Words(
        _CONNECT,
        _FAIL,
        "{address} is not there",
        "There is no such file. A server makes its socket when it starts.",
        "Start the server, or correct the path. In a container, the folder has to be shared.",
    ),
    Sign.SOCKET_ABANDONED: Words(
        _CONNECT,
        _FAIL,
        "{address} refuses the connection",
        "The file is there, and no program listens on it: it is left from a server that ended, or "
        "it is no socket.",
        "Start the server again.",
    ),
    Sign.SOCKET_FORBIDDEN: Words(
        _CONNECT,
        _FAIL,
        "{address} may not be used by you",
        "To connect, you need the right to write to the file, and to enter its folders.",
        "Run as a user or group that may, or change the rights of the file.",
    ),
    # --- TLS
    Sign.TLS_NOT_ASKED_FOR: Words(_TLS, _SKIP, "not asked for"),
    Sign.TLS_AGREED: Words(_TLS, _OK, "{version} with {cipher}, in {ms:.1f} ms"),
    Sign.TLS_EXPECTED: Words(
        _TLS,
        _FAIL,
        "the server speaks TLS, and was called without",
        "It answers a TLS handshake, and nothing else.",
        "Run again with --tls. Programs that call it need TLS too.",
    ),
    Sign.TLS_UNEXPECTED: Words(
        _TLS,
        _FAIL,
        "the server speaks {tongue} without TLS, and was called with TLS",
        "What it answers to a handshake is no TLS.",
        "Run again without --tls and the other options of TLS; or give the server a certificate, "
        "if others can listen on the way.",
    ),
    Sign.TLS_SILENT: Words(
        _TLS,
        _FAIL,
        "the server does not answer the handshake within {timeout_s:g} s",
        "It takes the connection, and says nothing. It hangs, it has too much to do, or it waits "
        "for another protocol.",
        "Check the port, and read the log of the server.",
    ),
    Sign.TLS_CLOSED: Words(
        _TLS,
        _FAIL,
        "the server breaks off the handshake",
        "It closes the connection, and does not say why. It may let in certain addresses only, or "
        "speak another protocol; or a proxy finds no server behind it.",
        "Check the port, and read the log of the server.",
    ),
    Sign.TLS_VERSION: Words(
        _TLS,
        _FAIL,
        "the server has no version of TLS that is taken here",
        "HTTP/2 needs TLS 1.2 or newer (RFC 9113).",
        "Let the server, or the proxy before it, speak TLS 1.2 and 1.3.",
    ),
    Sign.TLS_REFUSED: Words(
        _TLS,
        _FAIL,
        "the server ended the handshake without saying why",
        "Either it takes no version or cipher of TLS that is good enough for HTTP/2, or it asks "
        "for a client certificate (in TLS 1.2).",
        "Let the server take TLS 1.2 with ECDHE and AES-GCM, or TLS 1.3. If it asks for a "
        "certificate, run again with --tls-client-cert and --tls-client-key.",
    ),
    Sign.TLS_FAILED: Words(
        _TLS,
        _FAIL,
        "the handshake failed: {reason}",
        "Both sides speak TLS, and do not agree.",
        "Read the log of the server: it knows more.",
    ),
    Sign.TLS_NAME_UNKNOWN: Words(
        _TLS,
        _FAIL,
        "the server has no certificate for {host}",
        "It looks at the name that the client calls (SNI), and does not know it.",
        "Call it by a name that it has a certificate for, or give it one for this name.",
    ),
    Sign.CLIENT_CERTIFICATE_MISSING: Words(
        _TLS,
        _FAIL,
        "the server asks for a client certificate",
        "It lets in only who shows a certificate of an authority that it knows (mutual TLS), and "
        "you showed none.",
        "Run again with --tls-client-cert and --tls-client-key: a certificate for you, and its "
        "key.",
    ),
    Sign.CLIENT_CERTIFICATE_REFUSED: Words(
        _TLS,
        _FAIL,
        "the server does not accept your certificate: {reason}",
        "It is of an authority that the server does not know, has expired, or is not meant for "
        "clients.",
        "Use a certificate of the server's client authority that is still valid.",
    ),
    Sign.CERTIFICATE_TRUSTED: Words(
        _CERTIFICATE, _OK, "for {names}, by {issuer}, {days:d} days left"
    ),
    Sign.CERTIFICATE_ENDS_SOON: Words(
        _CERTIFICATE,
        _WARN,
        "for {names}, by {issuer}, only {days:d} days left",
        "Less than a tenth of its time is left. When it is over, every client refuses the server.",
        "Renew it now, and see why that did not happen by itself.",
    ),
    Sign.CERTIFICATE_EXPIRED: Words(
        _CERTIFICATE,
        _FAIL,
        "the certificate has expired{since:?, %s}",
        "Clients take no certificate whose time is over, nor one by an authority whose own is.",
        "Renew it, and let the server read the new one. If it is valid, check the clock of this "
        "machine.",
    ),
    Sign.CERTIFICATE_NOT_YET: Words(
        _CERTIFICATE,
        _FAIL,
        "the certificate is not valid yet{since:?, %s}",
        "Its time has not begun; or a clock is wrong, here or where it was made.",
        "Check the clock of this machine first.",
    ),
    Sign.CERTIFICATE_SELF_SIGNED: Words(
        _CERTIFICATE,
        _FAIL,
        "the certificate is signed by itself ({names})",
        "No authority stands for it, so that nobody can tell it from that of an attacker.",
        "Give the server a certificate of an authority; or, if it is your own, run again with "
        "--tls-ca and the file of this certificate.",
    ),
    Sign.CERTIFICATE_UNTRUSTED: Words(
        _CERTIFICATE,
        _FAIL,
        "the certificate is by {issuer}, which is not trusted here",
        "This authority is none of those that you trust; or the server does not send the "
        "certificates between its own and the authority's.",
        "Run again with --tls-ca and the file of the authority. If that is a public one, let "
        "the server send its whole chain.",
    ),
    Sign.CERTIFICATE_OTHER_NAME: Words(
        _CERTIFICATE,
        _FAIL,
        "the certificate is for {names}, and not for {host}",
        "You called {host}, and the server proves to be somebody else.",
        "Call it by a name of its certificate (with --tls-server-name where the address has to "
        "stay), or give it one for {host}.",
    ),
    Sign.CERTIFICATE_REFUSED: Words(
        _CERTIFICATE,
        _FAIL,
        "the certificate is refused: {reason}",
        "OpenSSL finds this fault in it, or in one of its authorities.",
        "Give the server another certificate: for servers, with a key and a signature of today.",
    ),
    Sign.ALPN_AGREED: Words(_ALPN, _OK, "h2"),
    Sign.ALPN_MISSING: Words(
        _ALPN,
        _FAIL,
        "the server agrees on no protocol",
        "HTTP/2 over TLS is agreed on in the handshake (ALPN h2). gRPC's clients refuse a server "
        "that does not.",
        "Switch HTTP/2 on at the server, or at the proxy that has the certificate.",
    ),
    Sign.ALPN_REFUSED: Words(
        _ALPN,
        _FAIL,
        "the server does not take HTTP/2",
        "It ended the handshake, because it was offered h2 alone (ALPN).",
        "Switch HTTP/2 on at the server, or at the proxy that has the certificate.",
    ),
    # --- HTTP/2
    Sign.HTTP2: Words(
        _HTTP2,
        _OK,
        "{streams} calls at a time, windows of {window}, frames up to {frame}, header lists up "
        "to {header_list}; a ping takes {ping_ms:.1f} ms",
    ),
    Sign.HTTP2_NO_STREAMS: Words(
        _HTTP2,
        _FAIL,
        "the server takes no calls",
        "Its settings say that nobody may have a call open (max_concurrent_streams is 0).",
        "Wait until it takes calls again, or correct this setting.",
    ),
    Sign.HTTP2_NO_PING: Words(
        _HTTP2,
        _WARN,
        "no answer to a ping within {timeout_s:g} s",
        "Whoever takes HTTP/2 has to answer it. Clients with keepalive will take the connection "
        "for dead.",
        "See whether the server hangs; a proxy that passes bytes on does not answer by itself.",
    ),
    Sign.HTTP2_BROKEN: Words(
        _HTTP2,
        _FAIL,
        "the server breaks a rule of HTTP/2",
        "{reason}.",
        "Check which program answers on this port. If it is a gRPC server, it has a fault.",
    ),
    Sign.HTTP2_GOAWAY: Words(
        _HTTP2,
        _FAIL,
        "the server sends you away: GOAWAY {code}",
        "It takes no calls on this connection{debug:? (%s)}. It is being stopped, or it has too "
        "many connections.",
        "Try again. If that does not help, read its log.",
    ),
    Sign.HTTP1: Words(
        _HTTP2,
        _FAIL,
        "the server speaks HTTP/1.1, and not HTTP/2: {line}",
        "gRPC needs HTTP/2, at the server and at each proxy before it.",
        "Check the port: pages and metrics often have one of their own. If a proxy answers here, "
        "switch HTTP/2 on (without TLS: h2c).",
    ),
    Sign.SSH: Words(
        _HTTP2,
        _FAIL,
        "this is an SSH server: {line}",
        "Port 22, or one that leads there, is not for gRPC.",
        "Correct the port.",
    ),
    Sign.OTHER_PROTOCOL: Words(
        _HTTP2,
        _FAIL,
        "the server speaks another protocol: {line}",
        "What it says is neither HTTP/2 nor HTTP/1.1.",
        "Correct the port.",
    ),
    Sign.STRANGE_BYTES: Words(
        _HTTP2,
        _FAIL,
        "the server speaks another protocol: {line}",
        "The bytes that it sends are neither HTTP nor TLS.",
        "Correct the port.",
    ),
    Sign.SILENT: Words(
        _HTTP2,
        _FAIL,
        "the server takes the connection, and says nothing within {timeout_s:g} s",
        "A server of HTTP/2 sends its settings at once. This one hangs, has too much to do, or "
        "speaks a protocol in which it waits for the client; TLS and HTTP/1.1 it is not.",
        "Check the port, and read the log of the server. A proxy waits like this for a server "
        "behind it that does not answer.",
    ),
    Sign.CLOSED: Words(
        _HTTP2,
        _FAIL,
        "the server takes the connection, and closes it",
        "It may have too many connections, or let in certain addresses only; or a proxy finds no "
        "server behind it; or it speaks another protocol.",
        "Check the port, and read the log of the server.",
    ),
    Sign.RESET: Words(
        _HTTP2,
        _FAIL,
        "the server takes the connection, and cuts it",
        "Its program ended or closed the connection without reading, or a firewall cut it.",
        "Read the log of the server, and check the firewalls on the way.",
    ),
    Sign.CLOSED_AFTER_TLS: Words(
        _HTTP2,
        _FAIL,
        "the server makes the handshake, and ends the connection",
        "So do servers that want another client certificate than they get, or any at all, and do "
        "not say so; grpcio's is one. It may also have too many connections.",
        "If the server asks for a certificate, run again with --tls-client-cert and "
        "--tls-client-key. Else read its log.",
    ),
    # --- gRPC
    Sign.GRPC: Words(_GRPC, _OK, "a method that is not there is UNIMPLEMENTED, as it should be"),
    Sign.GRPC_ASKS_WHO: Words(
        _GRPC,
        _WARN,
        "the server asks who calls: {status}{message:? (%s)}",
        "It speaks gRPC, and answers nobody whom it does not know.",
        "Nothing is wrong with the way to it. What follows is asked without credentials.",
    ),
    Sign.GRPC_ODD: Words(
        _GRPC,
        _WARN,
        "a method that is not there is answered with {status}{message:? (%s)}",
        "It speaks gRPC. The status should be UNIMPLEMENTED: clients tell from it that a server "
        "is older than they are.",
        "See whether an interceptor or a proxy answers before the server does.",
    ),
    Sign.GRPC_BESIDE: Words(
        _GRPC,
        _WARN,
        "a method that is not there is answered with HTTP {http}, and not by gRPC",
        "Other methods are answered by gRPC. Something before it chooses by the path: the "
        "server's own router, or a proxy.",
        "If a service is missing, see whether its path leads to gRPC there.",
    ),
    Sign.GRPC_UNAVAILABLE: Words(
        _GRPC,
        _FAIL,
        "the answer is {status}{message:? (%s)}",
        "The server that you reached says so of itself, or it is a proxy that finds no server "
        "behind it{server:? (it calls itself %s)}.",
        "Check the server behind the proxy, the address that the proxy has of it, and whether the "
        "proxy speaks HTTP/2 to it.",
    ),
    Sign.GRPC_SILENT: Words(
        _GRPC,
        _FAIL,
        "no answer to a call within {timeout_s:g} s",
        "HTTP/2 works, and the call is never answered: the server hangs, or a proxy waits for the "
        "server behind it.",
        "Read the log of the server, and see what it is busy with.",
    ),
    Sign.GRPC_RESET: Words(
        _GRPC,
        _FAIL,
        "the server breaks off the call: {reason}",
        "It does not answer with a status, as gRPC would.",
        "Check which program answers on this port, and read its log.",
    ),
    Sign.GRPC_LOST: Words(
        _GRPC,
        _FAIL,
        "the connection ends with the first call: {reason}",
        "The server speaks HTTP/2, and does not take the call.",
        "Read the log of the server, or of the proxy before it.",
    ),
    Sign.TRAILERS_LOST: Words(
        _GRPC,
        _FAIL,
        "the answer is gRPC, and has no status",
        "A call ends with grpc-status in the trailers. They got lost: a proxy does not pass them "
        "on{server:? (it calls itself %s)}.",
        "Let the proxy pass trailers on: it has to speak HTTP/2 on both sides, and know that this "
        "is gRPC (nginx: grpc_pass, and not proxy_pass).",
    ),
    Sign.HTTP_GATEWAY: Words(
        _GRPC,
        _FAIL,
        "a proxy answers, and not the server: HTTP {http}{server:? (it calls itself %s)}",
        "It found no server behind it, or could not talk with it{body:?. It says: %s}.",
        "Check whether the server runs, the address that the proxy has of it, and whether the "
        "proxy speaks HTTP/2 to it.",
    ),
    Sign.HTTP_NO_ROUTE: Words(
        _GRPC,
        _FAIL,
        "there is no gRPC here: HTTP 404{server:? (it calls itself %s)}",
        "The server speaks HTTP/2, and knows no path of gRPC, not even those of health and "
        "reflection{body:?. It says: %s}.",
        "Check the port. If a proxy answers here, lead the paths of the services to the server.",
    ),
    Sign.HTTP_ASKS_WHO: Words(
        _GRPC,
        _FAIL,
        "something before the server asks who calls: HTTP {http}{server:? (it calls itself %s)}",
        "A gRPC server would say UNAUTHENTICATED or PERMISSION_DENIED. This answer is of a proxy "
        "or a sign-on page{body:?. It says: %s}.",
        "Let gRPC pass there without signing on, or with the credentials that its clients send.",
    ),
    Sign.HTTP_REDIRECT: Words(
        _GRPC,
        _FAIL,
        "calls are sent elsewhere: HTTP {http} to {location}",
        "gRPC's clients follow no redirection.",
        "Call that address itself; if only the scheme differs, run again with --tls.",
    ),
    Sign.NOT_GRPC: Words(
        _GRPC,
        _FAIL,
        "this is no gRPC server: HTTP {http}, {content_type}{server:? (it calls itself %s)}",
        "gRPC answers with the content-type application/grpc and with a grpc-status"
        "{body:?. It says: %s}.",
        "Check the port. If a proxy answers here, let it pass gRPC on to the server.",
    ),
    # --- Health
    Sign.SERVING: Words(_HEALTH, _OK, "SERVING{services:?, also %s}"),
    Sign.NOT_SERVING: Words(
        _HEALTH,
        _FAIL,
        "the server says that it is {status}",
        "It runs, and does not want to be called: it starts, it stops, or something that it needs "
        "is missing, such as its database.",
        "Wait a moment if it was just started. Else its log says what is missing.",
    ),
    Sign.SERVICE_NOT_SERVING: Words(
        _HEALTH,
        _FAIL,
        "not every service is SERVING: {not_serving}",
        "The server as a whole is; these services do not want to be called now.",
        "The log of the server says what they lack.",
    ),
    Sign.HEALTH_MISSING: Words(
        _HEALTH,
        _WARN,
        "the server has no health service",
        "It works without. Balancers, Kubernetes and this doctor ask grpc.health.v1.Health "
        "whether it can be called.",
        "Add it if something watches over the server. If there is a proxy before it, let that pass "
        "its path on, too.",
    ),
    Sign.HEALTH_NO_OVERALL: Words(
        _HEALTH,
        _WARN,
        "the health service knows nothing of the server as a whole",
        "Who asks without the name of a service, as most do, hears NOT_FOUND.",
        "Let the server set the status of the empty name, too.",
    ),
    Sign.HEALTH_ASKS_WHO: Words(
        _HEALTH,
        _WARN,
        "the health service asks who calls: {status}{message:? (%s)}",
        "What watches over servers has no credentials, most often.",
        "Let everybody ask for the health.",
    ),
    Sign.HEALTH_FAILED: Words(
        _HEALTH,
        _FAIL,
        "the health service does not answer: {reason}",
        "It is there, and what it says is no status.",
        "Read the log of the server.",
    ),
    # --- Reflection
    Sign.REFLECTION: Words(_REFLECTION, _OK, "{services}"),
    Sign.REFLECTION_OLD: Words(
        _REFLECTION,
        _OK,
        "{services} (v1alpha only)",
    ),
    Sign.REFLECTION_MISSING: Words(
        _REFLECTION,
        _WARN,
        "the server has no reflection",
        "It works without. With it, grpcurl and the like need no .proto file.",
        "Add it if people are to look around; leave it out if strangers reach the port.",
    ),
    Sign.REFLECTION_FAILED: Words(
        _REFLECTION,
        _WARN,
        "reflection does not answer: {reason}",
        "Calls do not need it; grpcurl and the like do.",
        "Read the log of the server.",
    ),
    # --- One call
    Sign.METHOD_OK: Words(Step.METHOD, _OK, "{method} answers OK in {ms:.1f} ms"),
    Sign.METHOD_ANSWERS: Words(
        Step.METHOD,
        _OK,
        "{method} answers {status}{message:? (%s)}: it is there, and wants more than an empty "
        "message",
    ),
    Sign.METHOD_STREAMS: Words(
        Step.METHOD, _OK, "{method} answers with a stream, which goes on after {timeout_s:g} s"
    ),
    Sign.METHOD_MISSING: Words(
        Step.METHOD,
        _FAIL,
        "{method} is UNIMPLEMENTED{message:? (%s)}",
        "The server has no such method, or a proxy leads its path elsewhere.",
        "Check package, service and method, with upper and lower case"
        "{known:?. Reflection names the services %s}.",
    ),
    Sign.METHOD_ASKS_WHO: Words(
        Step.METHOD,
        _WARN,
        "{method} asks who calls: {status}{message:? (%s)}",
        "It is there, and was called without credentials.",
        "Call it with credentials, with a program of yours.",
    ),
    Sign.METHOD_FAILED: Words(
        Step.METHOD,
        _FAIL,
        "{method} fails: {reason}",
        "Other calls are answered: the fault is in the method, in what it needs, or in its answer.",
        "Read the log of the server for this call.",
    ),
    # --- Latency
    Sign.LATENCY: Words(
        Step.LATENCY,
        _OK,
        "of {count} {kind}, half took up to {p50_ms:.1f} ms, and 99 % up to {p99_ms:.1f} ms",
    ),
    Sign.LATENCY_LOST: Words(
        Step.LATENCY,
        _FAIL,
        "call {count} failed: {reason}",
        "Calls went well before it. The server ended, limits how many may be made, or a proxy "
        "sent this one elsewhere.",
        "Run again. If it is always the same number, look for a limit.",
    ),
}
