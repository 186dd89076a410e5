"""The doctor looks at servers that are not ours: grpcio's here, others' in ``nox -s interop``."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.certificates import Authority
from tests.interop.conftest import PATIENCE_S, ServerProgram

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import Files

HINTS = {"health-missing", "reflection-missing"}


def examined(address: str, *options: str | Path, status: int = 0) -> dict[str, Any]:
    """Return the findings of the command line, by their signs."""
    done = subprocess.run(
        [sys.executable, "-m", "userservice", "doctor", address, "--json", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.stderr == ""
    found = {each["sign"]: each for each in json.loads(done.stdout)["findings"]}
    assert done.returncode == status, found
    return found


def wrong(found: dict[str, Any]) -> set[str]:
    """Return the signs of what is not well."""
    return {sign for sign, each in found.items() if each["mark"] in ("warn", "fail")}


def test_a_server_with_nothing_but_its_service(peer: ServerProgram) -> None:
    """HTTP/2 and gRPC are well; health and reflection are hints; its method is there."""
    found = examined(peer.address, "--method", "userservice.v1.UserService/ListUsers")
    assert wrong(found) == HINTS
    assert found["method-ok"]["mark"] == "ok"
    assert found["latency"]["facts"]["count"] > 10


def test_a_method_that_the_server_does_not_have(peer: ServerProgram) -> None:
    """It is UNIMPLEMENTED."""
    found = examined(peer.address, "--method", "userservice.v1.UserService/Nothing", status=1)
    assert wrong(found) == HINTS | {"method-missing"}


def test_tls_with_a_server_that_has_none(peer: ServerProgram) -> None:
    """What it speaks is told."""
    found = examined(peer.address, "--tls", status=1)
    assert wrong(found) == {"tls-unexpected"}
    assert found["tls-unexpected"]["facts"]["tongue"] == "HTTP/2"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the certificates of both sides."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def files(authority: Authority) -> Files:
    """A certificate for both sides."""
    return authority.sign("both", "127.0.0.1")


@pytest.fixture(scope="session", params=["plain", "tls", "mutual"])
def whole_peer(
    request: pytest.FixtureRequest,
    peers: Path,
    authority: Authority,
    files: Files,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, ServerProgram]]:
    """A grpcio server with health and reflection, with and without TLS."""
    programs: dict[str, list[Path]] = {
        "plain": [],
        "tls": [files.cert, files.key],
        "mutual": [files.cert, files.key, authority.file],
    }
    program = peers / "python" / "health_and_reflection.py"
    log = tmp_path_factory.mktemp("peer") / "log"
    with ServerProgram([sys.executable, program, *programs[request.param]], log) as server:
        yield request.param, server


def test_grpcio_with_health_and_reflection(
    whole_peer: tuple[str, ServerProgram], authority: Authority, files: Files
) -> None:
    """All is well where it is called as it wants to be; else it is told how."""
    kind, server = whole_peer
    trust: list[str | Path] = [] if kind == "plain" else ["--tls-ca", authority.file]
    own: list[str | Path] = ["--tls-client-cert", files.cert, "--tls-client-key", files.key]
    shown = own if kind == "mutual" else []
    found = examined(server.address, *trust, *shown)
    assert wrong(found) == set()
    assert found["serving"]["mark"] == "ok"
    assert "grpc.health.v1.Health" in found["reflection-old"]["facts"]["services"]
    if kind != "plain":
        assert wrong(examined(server.address, status=1)) == {"tls-expected"}
        distrusting = examined(server.address, "--tls", *shown, status=1)
        assert wrong(distrusting) == {"certificate-untrusted"}
    if kind == "mutual":
        assert wrong(examined(server.address, *trust, status=1)) == {"closed-after-tls"}
