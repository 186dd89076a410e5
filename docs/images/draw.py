"""Draws terminal.svg: real commands, against a real server, as a terminal shows them.

A program of ``nox -s picture``.
"""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 96
HERE = Path(__file__).parent


def shown(command: str, environment: dict[str, str]) -> str:
    """Return what the command writes to a terminal."""
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", command], stdout=terminal, stderr=terminal, env=environment
    )
    process.wait()
    os.close(terminal)
    written = b""
    while True:
        try:
            written += os.read(screen, 65_536)
        except OSError:  # Linux says EIO when the other side is closed.
            return written.decode().replace("\r\n", "\n")


def main() -> None:
    """Serve in memory, run the commands, and draw what they show."""
    server = subprocess.Popen(
        [sys.executable, "-m", "userservice", "serve", "--port=0", "--database=memory:"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    ready = server.stdout.readline()
    environment = os.environ | {
        "USERSERVICE_TARGET": ready.split()[-1],
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": str(WIDTH),
        "TERM": "xterm-256color",
    }
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print("$ userservice serve", style="bold green")
    console.print("userservice is ready on 127.0.0.1:50051\n", highlight=False)
    commands = [
        "userservice users create --email ann@example.com --name 'Ann Lee' --role admin",
        "userservice users create --email bob@example.com --name Bob --json",
        "userservice users list --filter 'role=ADMIN OR name:b*' --order-by 'name desc'",
        "userservice users get 1234",
    ]
    for command in commands:
        console.print(f"$ {command}", style="bold green", highlight=False)
        console.print(Text.from_ansi(shown(command, environment)))
    server.terminate()
    server.wait(10)
    drawing = console.export_svg(title="userservice")
    # Any monospace font will do: the picture loads nothing from elsewhere.
    drawing = re.sub(r"@font-face \{.*?\}\s*", "", drawing, flags=re.DOTALL)
    (HERE / "terminal.svg").write_text(drawing)


main()
