"""Targets: what a channel connects to, and what is none."""

import pytest

from userservice.rpc import TargetError
from userservice.rpc.target import Target, parse_target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("127.0.0.1:8080", Target("127.0.0.1", 8080)),
        ("localhost", Target("localhost", 50051)),
        ("users.example.com:1", Target("users.example.com", 1)),
        ("[::1]:8080", Target("::1", 8080)),
        ("[::1]", Target("::1", 50051)),
        ("dns:users:8080", Target("users", 8080)),
        ("dns:///users:8080", Target("users", 8080)),
        ("unix:users.sock", Target(path="users.sock")),
        ("unix:/run/users.sock", Target(path="/run/users.sock")),
        ("unix:///run/users.sock", Target(path="/run/users.sock")),
    ],
)
def test_a_target_is_read(text: str, target: Target) -> None:
    """A host with a port or without, a Unix socket, and gRPC's dns: spelling."""
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":8080",
        "host:",
        "host:0",
        "host:65536",
        "host:http",
        "host:\uff18\uff10",
        "::1",
        "::1:8080",
        "[::1",
        "[::1]8080",
        "[]:80",
        "http://host:80",
        "host:80/path",
        "unix:",
        "unix://",
    ],
)
def test_what_is_no_target_is_refused(text: str) -> None:
    """The error shows the text, and what a target is like."""
    with pytest.raises(TargetError) as refused:
        parse_target(text)
    assert repr(text) in str(refused.value)
