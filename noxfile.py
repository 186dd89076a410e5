"""Every habit of the project has a name here: ``nox -l`` is the table of contents.

``.ci/run`` says which of them a change must pass.
"""

from __future__ import annotations

import filecmp
import shutil
import sysconfig
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "contract", "generated"]  # the quick ones

PYTHONS = ["3.11", "3.12", "3.13"]
# Without starting servers as processes on the one in the middle: minutes, for what the other
# two show.
WHICH_TESTS = {
    "3.11": [],
    "3.12": ["-m", "not once", "--ignore=tests/app", "--ignore=tests/interop"],
    "3.13": ["-m", "not once"],
}
PYPROJECT = nox.project.load_toml("pyproject.toml")

# What each package generates: its .proto files, the folder they lie in, and the
# Google files whose messages it packs into errors.
GENERATED = {
    Path("src/userservice/_gen"): (
        Path("proto"),
        [
            "userservice/v1/user_service.proto",
            "userservice/v1/auth_service.proto",
            "grpc/health/v1/health.proto",
        ],
        ["google/rpc/status.proto", "google/rpc/error_details.proto"],
    ),
    # Apart: whoever imports the client need not wait for these classes.
    Path("src/userservice/rpc/channelz/_gen"): (
        Path("proto"),
        ["grpc/channelz/v1/channelz.proto"],
        [],
    ),
    Path("examples/inventory/_gen"): (
        Path("examples/inventory/proto"),
        ["inventory/v1/inventory.proto"],
        [],
    ),
    Path("tests/wire/_gen"): (Path("tests/wire"), ["test_protobuf.proto"], []),
    Path("tests/interop/_gen"): (Path("tests/interop/proto"), ["testing.proto"], []),
}


# What `go install` builds for the interop session. protoc-gen-go has the version of
# protobuf in tests/interop/peers/go/go.mod.
GO_TOOLS = [
    "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
    "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2",
    "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4",
]

# grpc-go's own programs of the official test cases. It has the version of
# tests/interop/peers/go/go.mod.
GO_OFFICIAL = [f"google.golang.org/grpc/interop/{role}@v1.85.0" for role in ("client", "server")]


def install(session: nox.Session, *groups: str, project: bool = True) -> None:
    """Install dependency groups of pyproject.toml, and the project itself."""
    requirements = nox.project.dependency_groups(PYPROJECT, *groups)
    session.install(*requirements, *(["-e", "."] if project else []))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The test suite: on the oldest Python all of it, on the others without what is slow."""
    install(session, "test")
    session.run("pytest", *(session.posargs or WHICH_TESTS[str(session.python)]))


@nox.session
def lint(session: nox.Session) -> None:
    """Style, and the rule that imports point one way."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """The strict type checker, over everything."""
    install(session, "types")
    session.run("mypy")


@nox.session
def interop(session: nox.Session) -> None:
    """Our server and client with grpc-js, and with grpc-go and grpcurl where Go is installed.

    The official test cases too: grpc-go brings its own programs for them. And grpcdebug,
    where it is installed.
    """
    install(session, "test")
    peers = Path("tests/interop/peers")
    session.run("npm", "ci", "--ignore-scripts", "--prefix", str(peers / "js"), external=True)
    built = Path(session.create_tmp(), "go").resolve()
    if shutil.which("go"):
        build_go(session, peers / "go", built)
    else:
        session.warn("grpc-go and grpcurl are skipped: no Go")
    suites = ["peer_servers", "peer_clients", "grpcurl", "grpcdebug", "doctor"]
    official = ["our_client", "grpc_js_client", "grpc_go_client"]
    session.run(
        "pytest",
        *(f"tests/interop/test_{suite}.py" for suite in suites),
        *(f"tests/interop/official/test_{suite}.py" for suite in official),
        *session.posargs,
        env={"USERSERVICE_INTEROP_BUILT": str(built / "bin")},
    )


@nox.session
def soak(session: nox.Session) -> None:
    """Calls of every kind for three minutes: memory, tasks and descriptors are as before."""
    install(session, "test")
    session.run("python", "tests/soak/run.py", *(session.posargs or ["400000"]))


def build_go(session: nox.Session, source: Path, out: Path) -> None:
    """Build the peers on grpc-go, and grpcurl, into ``bin``."""
    tools, module = out / "bin", out / "src"
    for tool in GO_TOOLS:
        session.run("go", "install", tool, external=True, env={"GOBIN": str(tools)})
    official = {"GOBIN": str(tools / "official")}
    session.run("go", "install", *GO_OFFICIAL, external=True, env=official)
    shutil.rmtree(module, ignore_errors=True)
    shutil.copytree(source, module)
    places = [f"_out={module}", "_opt=module=interop,Muser_service.proto=interop/userservicev1"]
    session.run(
        "python",
        "-m",
        "grpc_tools.protoc",
        "--proto_path=tests/contract",
        *(f"--plugin=protoc-gen-{name}={tools}/protoc-gen-{name}" for name in ("go", "go-grpc")),
        *(f"--{name}{place}" for name in ("go", "go-grpc") for place in places),
        "user_service.proto",
    )
    session.run("go", "-C", str(module), "vet", "./...", external=True)
    session.run("go", "-C", str(module), "build", "-o", str(tools), "./...", external=True)


@nox.session
def conformance(session: nox.Session) -> None:
    """Protobuf's conformance suite, on the codec: exactly the failures that are known."""
    install(session, "codegen")
    folder = Path(session.create_tmp()).resolve()
    suite = Path("tests/conformance")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(suite / name, folder)
    session.run("npm", "ci", "--ignore-scripts", "--prefix", str(folder), external=True)
    protos, generated = folder / "protos", folder / "generated"
    for place in (protos, generated):
        shutil.rmtree(place, ignore_errors=True)
    generated.mkdir()
    eject = folder / "node_modules/.bin/conformance_proto_eject"
    session.run(str(eject), str(protos), external=True, silent=True)
    session.run(
        *("python", "-m", "grpc_tools.protoc", f"--proto_path={protos}"),
        f"--python_betterproto2_out={generated}",
        "conformance/conformance.proto",
        "google/protobuf/test_messages_proto3.proto",
        silent=True,
    )
    session.run("python", str(suite / "run.py"), str(folder))


@nox.session
def h2spec(session: nox.Session) -> None:
    """The HTTP/2 conformance suite h2spec, on our servers: exactly the failures that are known."""
    if not shutil.which("go"):
        session.skip("h2spec is built with Go, which is not there")
    session.install("-e", ".")
    suite, folder = Path("tests/h2spec"), Path(session.create_tmp()).resolve()
    program = folder / "h2spec"
    package = "github.com/summerwind/h2spec/cmd/h2spec"
    session.run("go", "-C", str(suite), "build", "-o", str(program), package, external=True)
    session.run("python", str(suite / "run.py"), str(program), str(folder))


@nox.session
def contract(session: nox.Session) -> None:
    """The contract: buf's lint, and nothing broken since the baseline."""
    install(session, "contract", project=False)
    session.run("buf", "lint")
    session.run("buf", "breaking", "--against", "tests/contract")


@nox.session
def coverage(session: nox.Session) -> None:
    """The test suite again, with its coverage; it may not fall below what it was."""
    install(session, "test")
    session.run("pytest", "--cov", "--cov-report=term-missing:skip-covered", *session.posargs)


@nox.session
def pure(session: nox.Session) -> None:
    """All eight RPCs on wheels without native code, and no shared object but Python's own."""
    session.install("build")
    work = Path(session.create_tmp()).resolve()
    shutil.rmtree(work, ignore_errors=True)
    session.run("python", "-m", "build", "--wheel", f"--outdir={work}", silent=True)
    [wheel] = work.glob("*.whl")
    packages = work / "packages"
    session.run(
        *("python", "-m", "pip", "install", "--quiet", f"--target={packages}", str(wheel)),
        # Only what is tagged py3-none-any: anything else is an error here.
        *("--only-binary=:all:", "--platform=any", "--implementation=py", "--abi=none"),
    )
    program = Path("tests/purity/all_rpcs.py").resolve()
    with session.chdir(work):
        session.run("python", "-B", str(program), env={"PYTHONPATH": str(packages)})
    # The check must be able to fail: with an ordinary install, it finds native code.
    session.install(str(wheel))
    with session.chdir(work):
        session.run("python", "-B", str(program), success_codes=[1], silent=True)


@nox.session
def generate(session: nox.Session) -> None:
    """Write every _gen from its .proto files, with pinned tools."""
    install(session, "codegen", project=False)
    for target in GENERATED:
        shutil.rmtree(target, ignore_errors=True)
        protoc(session, target, target)


@nox.session
def generated(session: nox.Session) -> None:
    """Fail when a committed _gen is not what its .proto files say."""
    install(session, "codegen", project=False)
    for target in GENERATED:
        fresh = Path(session.create_tmp()) / target
        shutil.rmtree(fresh, ignore_errors=True)
        protoc(session, target, fresh)
        drift = differences(filecmp.dircmp(target, fresh, ignore=["__pycache__"]))
        if drift:
            session.error(f"{target} is not what `nox -s generate` writes: {', '.join(drift)}")


@nox.session(python="3.11")
def bench(session: nox.Session) -> None:
    """Measure this server and its peers in turn, and write docs/benchmarks/results.*."""
    install(session, "bench")
    output = [] if session.posargs else ["--output=docs/benchmarks"]
    session.run("python", "tests/bench/run.py", *output, *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Hostile peers at full size: print what they cost, and write docs/reference/faults.md."""
    install(session, "test")
    output = [] if session.posargs else ["--output=docs/reference/faults.md"]
    session.run("python", "tests/faults/run.py", *output, *session.posargs)


@nox.session
def picture(session: nox.Session) -> None:
    """Draw the README's picture anew."""
    session.install(".")
    session.run("python", "docs/images/draw.py")


def protoc(session: nox.Session, target: Path, out: Path) -> None:
    folder, sources, google = GENERATED[target]
    purelib = sysconfig.get_path("purelib", vars={"base": session.virtualenv.location})
    out.mkdir(parents=True)
    session.run(
        "python",
        "-m",
        "grpc_tools.protoc",
        f"--proto_path={folder}",
        f"--proto_path={purelib}",
        f"--python_betterproto2_out={out}",
        "--python_betterproto2_opt=client_generation=async,server_generation=async",
        f"--descriptor_set_out={out / 'descriptors.binpb'}",
        "--include_imports",
        *sources,
        *google,
        silent=True,
    )


def differences(comparison: filecmp.dircmp[str]) -> list[str]:
    found = comparison.left_only + comparison.right_only + comparison.diff_files
    for part in comparison.subdirs.values():
        found += differences(part)
    return found
