"""The programs that are compared: how each is started, and the code it needs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.contract import ROOT
from tests.bench.processes import BenchError, python_module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONTRACT = ROOT / "proto" / "userservice" / "v1" / "user_service.proto"
COMPILE_S = 60


@dataclass(frozen=True, slots=True)
class Peer:
    """A server program.

    Args:
        label: what it is called in the tables.
        command: what starts it, given a file for its database.
        package: what must be installed for it.
        env: what its environment has besides.
        everywhere: whether it has all cores, and shares them with the load.
    """

    label: str
    command: Callable[[Path], list[str]]
    package: str = "userservice"
    env: Mapping[str, str] = field(default_factory=dict)
    everywhere: bool = False

    @property
    def installed(self) -> bool:
        """Whether it can be started here."""
        return find_spec(self.package) is not None


def _constant(name: str) -> Callable[[Path], list[str]]:
    return lambda _database: python_module(f"servers.{name}")


def _ours_on_sqlite(database: Path, workers: int = 1) -> list[str]:
    serve = ("serve", "--port=0", f"--database=sqlite:///{database}", f"--workers={workers}")
    return [sys.executable, "-m", "userservice", *serve]


PEERS = {
    "floor": Peer("floor (bare asyncio, constant bytes)", _constant("floor")),
    "ours": Peer("userservice", _constant("ours")),
    "bare_grpclib": Peer("grpclib + betterproto2", _constant("bare_grpclib")),
    "grpcio_aio": Peer("grpcio.aio", _constant("grpcio_aio"), "grpc"),
    "grpcio_threads": Peer("grpcio, threads", _constant("grpcio_threads"), "grpc"),
    "connect_pyvoy": Peer("connectrpc on pyvoy", _constant("connect_pyvoy"), "pyvoy"),
    "ours_everything": Peer("userservice", _constant("ours_everything")),
    "grpcio_aio_everything": Peer("grpcio.aio", _constant("grpcio_aio_everything"), "grpc"),
    "ours_sqlite": Peer("userservice", _ours_on_sqlite),
    "grpcio_aio_sqlite": Peer(
        "grpcio.aio",
        lambda database: python_module("servers.grpcio_aio_sqlite", f"sqlite:///{database}"),
        "grpc",
    ),
    "one_worker": Peer("one process", _ours_on_sqlite, everywhere=True),
    "two_workers": Peer(
        "two workers", lambda database: _ours_on_sqlite(database, 2), everywhere=True
    ),
    "ours_pure_multidict": Peer(
        "userservice, multidict in Python",
        _constant("ours"),
        env={"MULTIDICT_NO_EXTENSIONS": "1"},
    ),
}


def compile_contract(folder: Path, *, connect: bool = False) -> None:
    """Write the code that servers and clients which are not ours need.

    Args:
        folder: where to, and what must be in their PYTHONPATH.
        connect: also for connectrpc, into a package of its own: its modules import
            each other as siblings.

    Raises:
        BenchError: the compiler or a plugin is missing.
    """
    outputs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    if connect:
        package = folder / "connect_contract"
        package.mkdir(exist_ok=True)
        scripts = Path(sys.executable).parent
        for name in ("py", "connectrpc"):
            plugin = scripts / f"protoc-gen-{name}"
            outputs += [f"--plugin={plugin}", f"--{name}_out={package}"]
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        f"--proto_path={CONTRACT.parent}",
        *outputs,
        CONTRACT.name,
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=COMPILE_S)
    if done.returncode != 0:
        raise BenchError(f"protoc: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
