"""Targets: the names that a channel connects to."""

import ipaddress
import os
from dataclasses import dataclass
from typing import Any

DEFAULT_PORT = 50051
_PORT_MAX = 65_535


class TargetError(ValueError):
    """The text names no target."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server listens: a host and port, or the path of a Unix socket."""

    host: str | None = None
    port: int | None = None
    path: str | None = None


def parse_target(text: str) -> Target:
    """Read a target: ``host``, ``host:port``, ``[v6]:port``, or ``unix:path``.

    Args:
        text: the target, with or without gRPC's ``dns:`` in front (gRPC Name
            Resolution). The port is 50051 where there is none.

    Raises:
        TargetError: it is none of these.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if path.startswith("//"):
            path = path.removeprefix("//")
        if not path:
            raise TargetError(f"{text!r} has no path; a target is like unix:/run/users.sock")
        return Target(path=path)
    host, port = _split(text.removeprefix("dns:").removeprefix("///"), text)
    return Target(host=host, port=port)


def stays_here(text: str) -> bool:
    """Return whether what is sent to a target leaves this machine nowhere.

    Raises:
        TargetError: the text names no target.
    """
    host = parse_target(text).host
    return host is None or is_loopback(host)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, by its name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_and_port(name: tuple[Any, ...]) -> str:
    """Return a socket's internet address as a target: ``host:port``, or ``[v6]:port``."""
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reason_of(error: OSError) -> str:
    """Return why an address cannot be used, in the system's words."""
    # asyncio puts the address into strerror; a failed look-up has no errno of the system.
    code = error.errno or 0
    return os.strerror(code) if code > 0 else error.strerror or str(error)


def _split(address: str, text: str) -> tuple[str, int]:
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        malformed = not bracket or (rest and colon != ":")
    elif address.count(":") > 1:
        raise TargetError(f"{text!r}: write an IPv6 address in brackets, like [::1]:{DEFAULT_PORT}")
    else:
        host, colon, port = address.partition(":")
        malformed = False
    if malformed or not host or "/" in host or (colon and not port):
        raise TargetError(f"{text!r} is no target; one is like 127.0.0.1:{DEFAULT_PORT}")
    if not colon:
        return host, DEFAULT_PORT
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= _PORT_MAX):
        raise TargetError(f"{text!r}: the port is a number from 1 to 65535, not {port!r}")
    return host, int(port)
