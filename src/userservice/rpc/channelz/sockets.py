"""What the system and TLS know of a socket, as channelz tells it."""

import ipaddress
import os
import socket
import struct
import sys
from asyncio import BaseTransport
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from userservice.rpc.channelz._gen.google.protobuf import Any as Packed
from userservice.rpc.channelz._gen.grpc.channelz.v1 import (
    Address,
    AddressTcpIpAddress,
    AddressUdsAddress,
    Security,
    SecurityTls,
    SocketOption,
    SocketOptionLinger,
    SocketOptionTcpInfo,
)

if TYPE_CHECKING:
    import ssl

_LINGER: Final = struct.Struct("ii")  # struct linger

# The beginning of Linux's struct tcp_info; the seventh byte holds two numbers.
_TCP_INFO: Final = struct.Struct("8B21I")
_TCP_INFO_FIELDS: Final = (
    *("state", "ca_state", "retransmits", "probes", "backoff", "options"),
    *("snd_wscale", "rcv_wscale"),
    *("rto", "ato", "snd_mss", "rcv_mss", "unacked", "sacked", "lost", "retrans", "fackets"),
    *("last_data_sent", "last_ack_sent", "last_data_recv", "last_ack_recv", "pmtu"),
    *("rcv_ssthresh", "rtt", "rttvar", "snd_ssthresh", "snd_cwnd", "advmss", "reordering"),
)

# OpenSSL has names of its own for what is older than TLS 1.3; RFCs 5289 and 7905 have these.
_STANDARD_NAMES: Final = {
    f"ECDHE-{key}-{cipher}": f"TLS_ECDHE_{key}_WITH_{standard}"
    for key in ("ECDSA", "RSA")
    for cipher, standard in (
        ("AES128-GCM-SHA256", "AES_128_GCM_SHA256"),
        ("AES256-GCM-SHA384", "AES_256_GCM_SHA384"),
        ("CHACHA20-POLY1305", "CHACHA20_POLY1305_SHA256"),
    )
}


def address_of(name: Any) -> Address | None:
    """Return the address that a socket's own name, or its peer's, is."""
    if name is None:
        return None
    if isinstance(name, tuple):
        host, port = name[:2]
        packed = ipaddress.ip_address(host.partition("%")[0]).packed
        return Address(tcpip_address=AddressTcpIpAddress(ip_address=packed, port=port))
    path = os.fsencode(name).decode("utf-8", "replace")  # any bytes are a path, and not any a text
    return Address(uds_address=AddressUdsAddress(filename=path))


def security_of(transport: BaseTransport) -> Security | None:
    """Return what protects a connection; None where nothing does."""
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    cipher = None if tls is None else tls.cipher()
    if tls is None or cipher is None:
        return None
    certificate = tls.getpeercert(binary_form=True) or b""
    name = cipher[0]
    standard = name if name.startswith("TLS_") else _STANDARD_NAMES.get(name)
    if standard is None:
        return Security(tls=SecurityTls(other_name=name, remote_certificate=certificate))
    return Security(tls=SecurityTls(standard_name=standard, remote_certificate=certificate))


def options_of(transport: BaseTransport) -> list[SocketOption]:
    """Return the options of a connection's socket, where it has one that is open."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return []
    try:
        options = [_packed("SO_LINGER", _linger_of(sock))]
        if sys.platform == "linux" and sock.family != socket.AF_UNIX:
            options.append(_packed("TCP_INFO", _tcp_info_of(sock)))
    except OSError:  # it was closed just now
        return []
    return options


def _packed(name: str, additional: Any) -> SocketOption:
    return SocketOption(name=name, additional=Packed.pack(additional))


def _linger_of(sock: Any) -> SocketOptionLinger:
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.size)
    on, time_s = _LINGER.unpack(raw)
    return SocketOptionLinger(active=on != 0, duration=timedelta(seconds=time_s))


def _tcp_info_of(sock: Any) -> SocketOptionTcpInfo:
    raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    values = _TCP_INFO.unpack(raw)
    scales = values[6] & 0xF, values[6] >> 4
    if sys.byteorder == "big":
        scales = scales[::-1]
    fields = zip(_TCP_INFO_FIELDS, (*values[:6], *scales, *values[8:]), strict=True)
    return SocketOptionTcpInfo(**{f"tcpi_{name}": value for name, value in fields})
