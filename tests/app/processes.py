"""Servers as processes, for tests to start, stop and kill."""

import os
import re
import subprocess
import sys
from pathlib import Path

PATIENCE_S = 20


class Processes:
    """Starts servers in one folder, and kills what is left of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []
        self.in_sessions = False
        """Whether each has a group of its own, as a terminal gives it."""

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "userservice", "serve", *arguments],
            cwd=self.folder,
            env={k: v for k, v in os.environ.items() if not k.startswith("USERSERVICE_")}
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=self.in_sessions,
        )
        self.started.append(process)
        return process

    def refused(self, *arguments: str, **environment: str) -> str:
        """Return the one line of a server that does not start."""
        process = self.start(*arguments, **environment)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 2, stderr
        assert stdout == ""
        assert len(stderr.splitlines()) == 1, stderr
        assert stderr.startswith("userservice: ")
        return stderr


def address(process: subprocess.Popen[str]) -> str:
    """Wait for the readiness line, and return the address that it names."""
    assert process.stdout is not None
    line = process.stdout.readline()
    ready = re.fullmatch(r"userservice is ready on (\S+)\n", line)
    assert ready, line or process.communicate(timeout=PATIENCE_S)
    return ready[1]


def stopped(process: subprocess.Popen[str], signal_number: int) -> tuple[str, str]:
    """Stop a server, and return what more it wrote; it must end with status 0."""
    process.send_signal(signal_number)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, stderr
    return stdout, stderr
