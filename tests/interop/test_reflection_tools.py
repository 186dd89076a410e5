"""Tools that have no .proto file learn our service from the server, and call it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.interop.conftest import ServerProgram

USERS = "userservice.v1.UserService"
SERVICES = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    USERS,
]
METHODS = [
    "GetUser",
    "CreateUser",
    "UpdateUser",
    "DeleteUser",
    "ListUsers",
    "WatchUser",
    "BatchCreateUsers",
    "Chat",
]


def test_grpcios_reflection_client_lists_describes_and_calls(
    server: ServerProgram, run: Callable[..., Any], peers: Path, domain: str
) -> None:
    """v1alpha gives a client enough to call; v1 has the same services and every imported file."""
    found = run(sys.executable, peers / "python" / "reflection.py", server.address, f"ann@{domain}")
    assert found["services"] == found["v1 services"] == SERVICES
    assert found["methods"] == METHODS
    assert found["created"]["email"] == f"ann@{domain}"
    assert found["created"]["role"] == "ROLE_ADMIN"
    assert found["v1 files by symbol"] >= 1
    assert found["v1 unknown"] == 5  # NOT_FOUND
    assert found["v1 imports"] == {
        "userservice/v1/user_service.proto": [
            "google/protobuf/empty.proto",
            "google/protobuf/field_mask.proto",
            "google/protobuf/timestamp.proto",
        ],
        "google/protobuf/empty.proto": [],
        "google/protobuf/field_mask.proto": [],
        "google/protobuf/timestamp.proto": [],
    }


class BufCurl:
    """``buf curl`` with a server, whose schema it asks for by reflection."""

    def __init__(self, address: str, folder: Path) -> None:
        self._url = f"http://{address}"
        self._folder = folder

    def __call__(self, path: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run it; it fails with the gRPC status shifted left by three bits."""
        buf = shutil.which("buf", path=sysconfig.get_path("scripts"))
        assert buf is not None
        flags = ["--http2-prior-knowledge", "--protocol=grpc", "--timeout=20s"]
        return subprocess.run(
            [buf, "curl", *flags, *options, f"{self._url}{path}"],
            cwd=self._folder,
            check=False,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def buf_curl(server: ServerProgram, tmp_path: Path) -> BufCurl:
    """``buf curl``, in a folder with no .proto file."""
    return BufCurl(server.address, tmp_path)


@pytest.mark.parametrize("protocol", ["grpc-v1", "grpc-v1alpha"])
def test_buf_curl_lists(buf_curl: BufCurl, protocol: str) -> None:
    """Services and methods can be listed over either version of reflection."""
    version = f"--reflect-protocol={protocol}"
    assert buf_curl("", version, "--list-services").stdout.split() == SERVICES
    methods = buf_curl("", version, "--list-methods").stdout.split()
    assert [name for name in methods if name.startswith(f"{USERS}/")] == [
        f"{USERS}/{method}" for method in sorted(METHODS)
    ]


@pytest.mark.parametrize("protocol", ["grpc-v1", "grpc-v1alpha"])
def test_buf_curl_calls(buf_curl: BufCurl, domain: str, protocol: str) -> None:
    """A unary and a client-streaming method can be called with JSON."""
    version = f"--reflect-protocol={protocol}"
    ann = json.dumps({"email": f"ann@{domain}", "name": "Ann", "role": "ROLE_MODERATOR"})
    created = json.loads(buf_curl(f"/{USERS}/CreateUser", version, "-d", ann).stdout)
    assert (created["email"], created["role"]) == (f"ann@{domain}", "ROLE_MODERATOR")

    ben = json.dumps({"email": f"ben@{domain}", "name": "Ben"})
    done = buf_curl(f"/{USERS}/BatchCreateUsers", version, "-d", f"{ann} {ben}")
    assert json.loads(done.stdout) == {
        "createdCount": 1,
        "failedEmails": [f"ann@{domain}"],
        "failedCount": 1,
    }


def test_buf_curl_shows_errors(buf_curl: BufCurl) -> None:
    """A failed call shows its code, and its details as JSON."""
    failed = buf_curl(f"/{USERS}/CreateUser", "-d", '{"email": "no email"}')
    assert failed.returncode == 3 << 3
    error = json.loads(failed.stderr)
    assert error["code"] == "invalid_argument"
    assert [detail["type"] for detail in error["details"]] == [
        "google.rpc.BadRequest",
        "google.rpc.ErrorInfo",
    ]
