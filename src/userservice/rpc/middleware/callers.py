"""Who makes a call, as limits count it: a subject, or else a network address."""

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from userservice.rpc.call import Call

HEALTH: Final = "/grpc.health.v1.Health/"
"""What the paths of the health service begin with: a supervisor that cannot ask would restart
a server that has much to do."""

# What one subscriber has at least (RFC 6177): who has one address has all of these.
_IPV6_PREFIX: Final = 64


def caller_of(call: Call) -> str:
    """Return the subject of a call, or the address that it came from where there is none."""
    subject = call.subject
    return address_of(call) if subject is None else f"@{subject.id}"  # no address begins so


def address_of(call: Call) -> str:
    """Return the address that a call came from, without the port; of IPv6, the network's."""
    return network_of(call.peer) or "unix"


def network_of(peer: str) -> str | None:
    """Return what a client's address is counted by; None for a Unix socket.

    One host has a whole /64 of IPv6, and may take any address of it. On a Unix socket all
    have the same address: permissions of the file say who they are.
    """
    host = peer.rpartition(":")[0]
    return _network(host) if host.startswith("[") else host or None


@lru_cache(4_096)  # reading an address takes 5 us
def _network(host: str) -> str:
    address = IPv6Address(host[1:-1].partition("%")[0])
    if address.ipv4_mapped is not None:  # an IPv4 client of a socket that takes both
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, _IPV6_PREFIX), strict=False))
