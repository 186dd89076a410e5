"""The sockets to listen on: of a host and port, of a Unix socket's path, or systemd's."""

import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from userservice.app.errors import ServeError
from userservice.app.systemd import passed_sockets
from userservice.rpc.target import reason_of

_BACKLOG: Final = 1_024  # connections that wait to be accepted; the system may allow fewer
_PORT_TRIES: Final = 16  # for a port that is free on all addresses of a host
_PROBE_S: Final = 1.0  # for the owner of a Unix socket to be there

# An address that a name has, and the machine has not: "localhost" without IPv6, say.
_NOT_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

Address = tuple[socket.AddressFamily, str]


class ListenError(ServeError):
    """An address cannot be listened on; the text is one line."""


@contextmanager
def opened_sockets(
    host: str, port: int, unix: Path | None = None, unix_mode: int = 0o600
) -> Iterator[list[socket.socket]]:
    """Open the sockets to listen on; a Unix socket's file is removed at the end of the block.

    Where systemd passed sockets on, they are taken, and nothing else.

    Args:
        host: an address or a name; ``::`` is all addresses, of IPv4 too.
        port: the port; 0 for one that is free on all addresses of the host.
        unix: the path of a Unix socket, in place of host and port.
        unix_mode: who may connect to it, as file permissions.

    Raises:
        ListenError: an address cannot be listened on.
        PassedSocketError: what systemd passed on cannot be.
    """
    with ExitStack() as opened:
        sockets = passed_sockets()
        if not sockets and unix is not None:
            sockets = [opened.enter_context(_unix_socket(unix, unix_mode))]
        elif not sockets:
            sockets = _tcp_sockets(host, port)
        for sock in sockets:
            opened.enter_context(sock)
        yield sockets


# TCP


def _tcp_sockets(host: str, port: int) -> list[socket.socket]:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        addresses = _addresses_of(host)
        for _ in range(_PORT_TRIES - 1):
            try:
                return _bound(addresses, port)
            except OSError as error:
                # A port that was free on the first address may be taken on the next.
                if port or error.errno != errno.EADDRINUSE:
                    raise
        return _bound(addresses, port)
    except (OSError, UnicodeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "it is no name of a host"
        raise ListenError(f"cannot listen on {where}: {reason}") from error


def _addresses_of(host: str) -> list[Address]:
    """Return the addresses of a name; each once."""
    found = socket.getaddrinfo(host or "::", None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(name[0])) for family, _, _, _, name in found))


def _bound(addresses: Sequence[Address], port: int) -> list[socket.socket]:
    """Listen on all addresses, on one port."""
    with ExitStack() as made:
        sockets: list[socket.socket] = []
        missing: OSError | None = None
        for family, address in addresses:
            try:
                sock = socket.create_server(
                    (address, port),
                    family=family,
                    backlog=_BACKLOG,
                    dualstack_ipv6=address == "::" and socket.has_dualstack_ipv6(),
                )
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
                continue
            sockets.append(made.enter_context(sock))
            port = sock.getsockname()[1]
        if missing is not None and not sockets:
            raise missing
        made.pop_all()
        return sockets


# Unix sockets


@contextmanager
def _unix_socket(path: Path, mode: int) -> Iterator[socket.socket]:
    """Listen on a Unix socket; its file is removed at the end, unless it is another's by then."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with sock:
        try:
            _bind(sock, path, mode)
            sock.listen(_BACKLOG)
            made = _made(path)
        except OSError as error:
            raise ListenError(f"cannot listen on unix:{path}: {reason_of(error)}") from error
        try:
            yield sock
        finally:
            with suppress(OSError):
                if _made(path) == made:
                    path.unlink()


def _made(path: Path) -> tuple[int, ...]:
    """Return which file this is; the number alone may be another's, once it is free again."""
    found = path.lstat()
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _bind(sock: socket.socket, path: Path, mode: int) -> None:
    # Linux makes the file with these permissions, and never with others in between.
    with suppress(OSError):
        os.fchmod(sock.fileno(), mode)
    try:
        sock.bind(str(path))
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not _is_left_behind(path):
            raise
        path.unlink()
        sock.bind(str(path))
    path.chmod(mode)


def _is_left_behind(path: Path) -> bool:
    """Tell whether a file is a Unix socket on which nobody listens any more."""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise ListenError(f"cannot listen on unix:{path}: a file is there that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:  # it may be busy, or another user's
            return False
    return False
