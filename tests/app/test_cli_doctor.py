"""``userservice doctor`` as a program: its lines, its JSON, its exit statuses."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
from tests.app.conftest import ServerProcess
from tests.app.strange_servers import free_address

Run = Callable[..., subprocess.CompletedProcess[str]]
RunEach = Callable[..., list[subprocess.CompletedProcess[str]]]


def test_a_healthy_server_and_none(server: ServerProcess, run_each: RunEach) -> None:
    """One line a step, in columns; what is wrong is explained below it. The status tells."""
    nobody = free_address()
    well, ill, as_json, ill_json = run_each(
        [
            ["doctor"],
            ["doctor", nobody],
            ["doctor", server.address, "--json", "--method", "grpc.health.v1.Health/Check"],
            ["doctor", nobody, "--json"],
        ]
    )
    assert (well.returncode, well.stderr) == (0, "")
    lines = well.stdout.splitlines()
    assert [line.split()[0] for line in lines[:-2]] == [
        *("name", "connect", "tls", "http/2", "grpc", "health", "reflection", "latency")
    ]
    assert {line[13:17] for line in lines[:-2]} == {"ok  ", "skip"}
    assert lines[-2:] == ["", "All is well."]

    assert (ill.returncode, ill.stderr) == (1, "")
    lines = ill.stdout.splitlines()
    assert lines[1] == f"connect      fail  {nobody} refuses the connection"
    assert lines[2].startswith(" " * 19 + "why:  The machine is there")
    assert lines[3].startswith(" " * 19 + "mend: Start the server")
    assert lines[-1] == f"Something is wrong: {nobody} refuses the connection."

    document = json.loads(as_json.stdout)
    assert (as_json.returncode, document["well"]) == (0, True)
    assert [found["sign"] for found in document["findings"]] == [
        "no-name",
        "connected",
        "tls-not-asked-for",
        "http2",
        "grpc",
        "serving",
        "reflection",
        "method-ok",
        "latency",
    ]
    assert (ill_json.returncode, json.loads(ill_json.stdout)["well"]) == (1, False)


def test_mistakes_are_one_line(run_each: RunEach, tmp_path: Path) -> None:
    """And status 2: nothing was looked at."""
    commands = [
        ["doctor", "host:port"],
        ["doctor", "--method", "GetUser"],
        ["doctor", "--tls-ca", str(tmp_path / "none.pem")],
        ["doctor", "--tls", "--tls-server-name", ".example"],
    ]
    said = ["'ADDRESS'", "package.Service/Method", "none.pem", "'--tls-server-name'"]
    for done, words in zip(run_each(commands), said, strict=True):
        assert (done.returncode, done.stdout) == (2, ""), done
        assert len(done.stderr.splitlines()) == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_a_terminal_has_colors_and_wraps_in_columns(
    run_in_terminal: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """The words stay in their column, however narrow the terminal is."""
    done = run_in_terminal("doctor", free_address(), columns=60)
    assert done.returncode == 1
    assert "\x1b[1;31mfail" in done.stdout
    lines = click.unstyle(done.stdout).splitlines()
    explained = [line for line in lines if line.startswith(" " * 19)]
    assert len(explained) >= 6
    assert max(map(len, explained)) <= 60


def test_nobody_reads(server: ServerProcess, run: Run) -> None:
    """As in `userservice doctor | true`: no traceback."""
    nobody, said = os.pipe()
    os.close(nobody)
    done = run("doctor", stdout=said)
    os.close(said)
    assert (done.returncode, done.stderr) == (0, "")
