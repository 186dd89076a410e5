"""The server and the command line with TLS, on Unix sockets, and on several addresses."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable

import pytest
from click.testing import CliRunner
from tests.app.processes import Processes, address, stopped
from tests.certificates import Authority, Files

from userservice import ListUsersRequest, UserServiceClient
from userservice.app.cli import userservice as command_line

MEMORY = ("--port=0", "--database=memory:")


def served_with(files: Files, *options: str) -> list[str]:
    """The options of a server that shows this certificate."""
    return [*MEMORY, f"--tls-cert={files.cert}", f"--tls-key={files.key}", *options]


def test_users_over_tls(
    processes: Processes,
    run_each: Callable[..., list[subprocess.CompletedProcess[str]]],
    server_files: Files,
    authority: Authority,
) -> None:
    """Each command that calls takes the same options; what goes wrong is one line."""
    me = authority.sign("me", "me@example.com")
    process = processes.start(*served_with(server_files, f"--tls-client-ca={authority.file}"))
    target = f"--target={address(process)}"
    ca, cert, key = f"--tls-ca={authority.file}", f"--tls-client-cert={me.cert}", me.key
    both = [target, ca, cert, f"--tls-client-key={key}"]
    expected = {
        ("users", "list", "--json", *both): (0, ""),
        ("chat", "--as=me", *both): (0, ""),
        ("users", "list", target, ca): (78, "it asks for a client certificate"),
        ("users", "list", *both, "--tls-server-name=other"): (78, "is not valid for 'other'"),
    }
    outcomes = run_each(list(expected))
    for outcome, (status, words) in zip(outcomes, expected.values(), strict=True):
        assert outcome.returncode == status, outcome
        assert words in outcome.stderr
        assert len(outcome.stderr.splitlines()) <= 1, outcome.stderr
    _, log = stopped(process, signal.SIGTERM)
    assert "Traceback" not in log
    assert "it has no client certificate, and needs one" in log


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("users", "list", "--tls-client-cert=a"), "--tls-client-cert and --tls-client-key go"),
        (("chat", "--tls-client-key=a"), "--tls-client-cert and --tls-client-key go together."),
        (("users", "list", "--tls-ca=a"), "the CA a cannot be read: No such file or directory"),
        (("serve", "--tls-cert=a"), "--tls-cert and --tls-key go together."),
        (("serve", "--tls-key=a"), "--tls-cert and --tls-key go together."),
        (("serve", "--tls-client-ca=a"), "--tls-client-ca needs --tls-cert and --tls-key."),
        (("serve", "--unix=x", "--unix-mode=8"), "'8' is no file permissions"),
    ],
)
def test_options_that_cannot_be(arguments: tuple[str, ...], words: str) -> None:
    """Before anything is opened."""
    outcome = CliRunner().invoke(command_line, arguments)
    assert outcome.exit_code in (1, 2)
    assert words in " ".join(outcome.output.split())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_certificate_with_junk_behind_it_is_one_line(
    processes: Processes, authority: Authority, workers: int
) -> None:
    """It names the file."""
    good = authority.sign("good", "127.0.0.1")
    junk = processes.folder / "junk.pem"
    list_of_nothing = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"
    junk.write_bytes(good.cert.read_bytes() + list_of_nothing)
    line = processes.refused(
        "--port=0",
        "--database=sqlite:///junk.db",
        f"--tls-cert={junk}",
        f"--tls-key={good.key}",
        f"--workers={workers}",
    )
    assert f"the certificate {junk} cannot be read as certificates" in line


def test_the_variables_of_tls(
    processes: Processes,
    run: Callable[..., subprocess.CompletedProcess[str]],
    server_files: Files,
    authority: Authority,
) -> None:
    """Both sides can be set up without an option."""
    me = authority.sign("by-variable", "me@example.com")
    process = processes.start(
        *MEMORY,
        USERSERVICE_TLS_CERT=str(server_files.cert),
        USERSERVICE_TLS_KEY=str(server_files.key),
        USERSERVICE_TLS_CLIENT_CA=str(authority.file),
    )
    variables = {
        "USERSERVICE_TARGET": address(process),
        "USERSERVICE_TLS": "1",
        "USERSERVICE_TLS_CA": str(authority.file),
        "USERSERVICE_TLS_CLIENT_CERT": str(me.cert),
        "USERSERVICE_TLS_CLIENT_KEY": str(me.key),
        "USERSERVICE_TLS_SERVER_NAME": "localhost",
    }
    outcome = run("users", "list", "--json", env=os.environ | variables)
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_a_mistake_with_a_certificate_is_one_line(
    processes: Processes, server_files: Files, authority: Authority
) -> None:
    """A server with one does not start."""
    other = authority.sign("of-another", "127.0.0.1")
    line = processes.refused(*MEMORY, f"--tls-cert={server_files.cert}", f"--tls-key={other.key}")
    assert f"the key {other.key} is not that of the certificate {server_files.cert}" in line


def test_a_unix_socket_in_place_of_a_port(
    processes: Processes, run: Callable[..., subprocess.CompletedProcess[str]], server_files: Files
) -> None:
    """TLS is not spoken there, and its file goes with the server."""
    path = processes.folder / "users.sock"
    process = processes.start(
        *served_with(server_files), f"--unix={path}", USERSERVICE_UNIX_MODE="0640"
    )
    assert address(process) == f"unix:{path}"
    assert stat.S_IMODE(path.lstat().st_mode) == 0o640
    outcome = run("users", "list", "--json", f"--target=unix:{path}")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    line = processes.refused(*MEMORY, USERSERVICE_UNIX=str(path))
    assert f"cannot listen on unix:{path}: Address already in use" in line
    stopped(process, signal.SIGTERM)
    assert not path.exists()


def test_all_addresses(processes: Processes) -> None:
    """``--host ::`` serves both families, where the machine has them."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    process = processes.start(*MEMORY, "--host=::", "--allow-unauthenticated")
    named = address(process)
    assert named.startswith("[::]:")
    port = named.rpartition(":")[2]

    async def list_users(target: str) -> None:
        async with UserServiceClient(target) as client:
            await client.list_users(ListUsersRequest())

    for host in ("127.0.0.1", "[::1]"):
        asyncio.run(list_users(f"{host}:{port}"))
    stopped(process, signal.SIGTERM)
