"""The sockets to listen on: names with several addresses, Unix sockets, and systemd's."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from userservice.app.listeners import ListenError, opened_sockets
from userservice.app.systemd import PassedSocketError, passed_sockets


def has_ipv6() -> bool:
    """Tell whether this machine has the loopback address of IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


def reaches(address: tuple[str, int]) -> bool:
    """Tell whether somebody listens there."""
    try:
        socket.create_connection(address, 5).close()
    except OSError:
        return False
    return True


# Hosts


@needs_ipv6
def test_all_addresses_are_those_of_both_families() -> None:
    """``--host ::`` is one socket for IPv6 and IPv4."""
    with opened_sockets("::", 0) as [sock]:
        port = sock.getsockname()[1]
        assert reaches(("::1", port))
        assert reaches(("127.0.0.1", port))


def test_all_addresses_of_ipv4() -> None:
    """``--host 0.0.0.0`` is one socket for IPv4."""
    with opened_sockets("0.0.0.0", 0) as [sock]:
        assert sock.family is socket.AF_INET
        assert reaches(("127.0.0.1", sock.getsockname()[1]))


def named(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name have these addresses."""

    def getaddrinfo(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, 0),
            )
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@needs_ipv6
def test_a_name_is_listened_on_at_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one port, also where it is any free one; an address twice is one."""
    named(monkeypatch, "::1", "127.0.0.1", "::1", "127.0.0.2")
    with opened_sockets("several.example.com", 0) as sockets:
        assert [sock.getsockname()[0] for sock in sockets] == ["::1", "127.0.0.1", "127.0.0.2"]
        [port] = {sock.getsockname()[1] for sock in sockets}
    assert not reaches(("127.0.0.1", port))


def test_an_address_that_the_machine_has_not_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in containers, where localhost has an IPv6 address in name only; one must be there."""
    named(monkeypatch, "192.0.2.1", "127.0.0.1")
    with opened_sockets("localhost", 0) as [sock]:
        assert sock.getsockname()[0] == "127.0.0.1"
    named(monkeypatch, "192.0.2.1")
    with pytest.raises(ListenError, match="Cannot assign requested address"):
        enter(lambda: opened_sockets("localhost", 0))


def enter(opened: Callable[[], object]) -> None:
    """Open sockets that cannot be opened."""
    with opened():  # type: ignore[attr-defined]  # a context manager
        raise AssertionError


def test_a_port_that_is_taken_on_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any free one is one that is free on all; a given one is not exchanged for another."""
    named(monkeypatch, "127.0.0.2", "127.0.0.1")
    bound: list[tuple[str, int]] = []
    create_server = socket.create_server

    def create_after_others(
        address: tuple[str, int], *args: object, **options: object
    ) -> socket.socket:
        bound.append(address)
        if len(bound) == 2:  # somebody else was quicker
            raise OSError(98, "Address already in use")
        return create_server(address, *args, **options)  # type: ignore[arg-type]  # as it is called

    monkeypatch.setattr(socket, "create_server", create_after_others)
    with opened_sockets("localhost", 0) as sockets:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        port = sockets[0].getsockname()[1]
    assert len(bound) == 4
    bound.clear()
    with pytest.raises(ListenError, match=f"localhost:{port}: Address already in use"):
        enter(lambda: opened_sockets("localhost", port))
    with socket.create_server(("127.0.0.2", port)):
        pass  # what was opened was closed again


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("no-such-host.invalid", "cannot listen on no-such-host.invalid:0: "),
        ("a" * 70 + ".example", "it is no name of a host"),
        ("256.0.0.1", "cannot listen on 256.0.0.1:0: "),
    ],
)
def test_a_host_that_is_none(host: str, expected: str) -> None:
    """One line."""
    with pytest.raises(ListenError) as mistake:
        enter(lambda: opened_sockets(host, 0))
    assert expected in str(mistake.value)
    assert len(str(mistake.value).splitlines()) == 1


# Unix sockets


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the socket is to be."""
    return tmp_path / "users.sock"


def unix_fault(path: Path) -> str:
    """Return why a Unix socket cannot be listened on."""
    with pytest.raises(ListenError) as mistake:
        enter(lambda: opened_sockets("", 0, path))
    return str(mistake.value).removeprefix(f"cannot listen on unix:{path}: ")


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_unix_socket_has_the_mode_asked_for(path: Path, mode: int) -> None:
    """Whatever the umask; and never another, not even for a moment."""
    before = os.umask(0o077)
    try:
        with opened_sockets("", 0, path, mode) as [sock]:
            assert stat.S_IMODE(path.lstat().st_mode) == mode
            assert sock.getsockname() == str(path)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
    finally:
        os.umask(before)
    assert not path.exists()


def test_what_a_dead_server_left_behind_is_removed(path: Path) -> None:
    """Nobody listens there any more."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.is_socket()
    with opened_sockets("", 0, path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_socket_in_use_is_let_be(path: Path) -> None:
    """And so is any other file, and a folder."""
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(path))
        alive.listen()
        assert unix_fault(path) == "Address already in use"
        assert path.is_socket()
    path.unlink()
    path.write_text("precious")
    assert unix_fault(path) == "a file is there that is no socket"
    assert path.read_text() == "precious"
    assert unix_fault(path.parent) == "a file is there that is no socket"
    path.unlink()
    path.symlink_to("nowhere")
    assert unix_fault(path) == "a file is there that is no socket"


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    """Its folder is missing, or it is longer than the system's 108 bytes."""
    assert unix_fault(tmp_path / "no/users.sock") == "No such file or directory"
    assert unix_fault(tmp_path / ("x" * 120)) == "AF_UNIX path too long"


def test_the_socket_of_a_successor_stays(path: Path) -> None:
    """Two servers take turns at one path: the first, when it ends, does not remove the second's."""
    with opened_sockets("", 0, path) as [first]:
        first.close()  # it takes no more connections
        with opened_sockets("", 0, path):
            made = path.lstat()
            with opened_sockets("127.0.0.1", 0):
                pass
            assert path.lstat().st_ino == made.st_ino
        assert not path.exists()
        path.write_text("another's")
    assert path.read_text() == "another's"


# systemd's


PRINT_PASSED = """
import os, sys
from userservice.app.systemd import PassedSocketError, passed_sockets
os.environ["LISTEN_PID"] = os.environ["LISTEN_PID"].replace("own", str(os.getpid()))
try:
    sockets = passed_sockets()
except PassedSocketError as error:
    sys.exit(f"refused: {error}")
for sock in sockets:
    print(sock.fileno(), sock.family.name, sock.getsockname(), sock.get_inheritable())
print([name for name in os.environ if name.startswith("LISTEN_")])
"""


def passed(*descriptors: int, **variables: str) -> subprocess.CompletedProcess[str]:
    """Ask a process what it makes of descriptors that it gets from number 3 on."""

    def put() -> None:
        high = [os.dup2(descriptor, 100 + place) for place, descriptor in enumerate(descriptors)]
        for place, descriptor in enumerate(high):
            os.dup2(descriptor, 3 + place)

    return subprocess.run(
        [sys.executable, "-c", PRINT_PASSED],
        env={"PATH": os.environ["PATH"], "LISTEN_PID": "own", "LISTEN_FDS": str(len(descriptors))}
        | variables,
        preexec_fn=put,
        close_fds=False,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket as ListenStream= makes it."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def test_sockets_are_passed_on(listening: socket.socket, path: Path) -> None:
    """In their order, of TCP and Unix; neither they nor the variables reach another process."""
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        outcome = passed(listening.fileno(), unix.fileno(), LISTEN_FDNAMES="tcp:unix")
    assert outcome.stdout.splitlines() == [
        f"3 AF_INET {listening.getsockname()} False",
        f"4 AF_UNIX {path} False",
        "[]",
    ]


def test_sockets_for_another_process_are_not_taken(listening: socket.socket) -> None:
    """LISTEN_PID says whose they are; the variables go all the same."""
    assert passed(listening.fileno(), LISTEN_PID="1").stdout == "[]\n"


def test_what_cannot_be_served_is_one_line(listening: socket.socket, tmp_path: Path) -> None:
    """A datagram socket, a connection, a file, a number that is nothing."""
    near, far = socket.socketpair()
    with near, far, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        with (tmp_path / "file").open("w") as file:
            faults: dict[str, socket.socket | TextIO] = {
                "3 of LISTEN_FDS (dns) is no stream socket of TCP or Unix": datagrams,
                "3 of LISTEN_FDS (dns) is a connection, and does not listen": near,
                "3 of LISTEN_FDS (dns) is no socket": file,
            }
            for fault, passed_on in faults.items():
                outcome = passed(passed_on.fileno(), LISTEN_FDNAMES="dns")
                assert f"refused: file descriptor {fault}" in outcome.stderr
                assert len(outcome.stderr.splitlines()) == 1
    missing = passed(listening.fileno(), LISTEN_FDS="200")
    assert "refused: file descriptor" in missing.stderr
    assert "LISTEN_FDS is a number, not 'two'" in passed(LISTEN_FDS="two").stderr


def test_without_systemd_there_are_none() -> None:
    """Nor is anything wrong."""
    assert passed_sockets({}) == []
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x", "OTHER": "1"}
    with pytest.raises(PassedSocketError):
        passed_sockets(environment)
    assert environment == {"OTHER": "1"}
