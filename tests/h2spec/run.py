"""Runs h2spec on our HTTP/2: a program of ``nox -s h2spec``.

Its arguments are h2spec itself, and a folder for the reports. There are two servers: that of
gRPC, which refuses what h2spec asks for, without data; and one of pages on the same engine, for
the cases that look at data. It fails where a case does not pass that failures.txt does not
have, and where one passes that it has.
"""

import asyncio
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from userservice.rpc import Server
from userservice.rpc.health import Health
from userservice.wire import http2

RACE = "race "
FAILURES = Path(__file__).with_name("failures.txt")
CASES_MIN = 146

PATH = "/grpc.health.v1.Health/Check"
HEADERS = ((":status", "200"), ("content-type", "text/plain"))
PAGE = b"a page"

# Only a failing case waits as long; this is for slow machines.
CASE_MAX_S = 5
ALL_MAX_S = 300

# A page answers when nothing came for this long: a case that opens one stream too many has
# opened them all by then.
QUIET_S = 0.05


class Pages(asyncio.Protocol):
    """Answers every request with a page, once the client is quiet."""

    def __init__(self) -> None:
        settings = http2.Settings(max_concurrent_streams=100)
        self.engine = http2.Connection(http2.Role.SERVER, settings)
        self.heads: set[http2.Stream] = set()
        """The requests that want no page, only its headers."""
        self.asked: list[http2.Stream] = []
        """The requests that are whole, and have no answer yet."""
        self.pages: dict[http2.Stream, bytes] = {}
        """What is left of each page that is being sent."""
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the greeting."""
        self.transport: Any = transport
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Take frames, and wait for quiet."""
        for event in self.engine.receive(data):
            self.hear(event)
        self.flush()
        self.stop_timer()
        if self.engine.failed:
            # What still comes is read, so that GOAWAY reaches the client before the end.
            self.transport.write_eof()
        else:
            self.timer = asyncio.get_running_loop().call_later(QUIET_S, self.answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Answer nobody any more."""
        self.stop_timer()

    def hear(self, event: http2.Event) -> None:
        """Note who waits for a page."""
        match event:
            case http2.RequestReceived(stream, headers, ended):
                if headers.get(":method") == "HEAD":
                    self.heads.add(stream)
            case http2.DataReceived(stream, _, size, ended):
                self.engine.acknowledge(stream, size)
            case http2.TrailersReceived(stream):
                ended = True
            case _:
                return
        if ended:
            self.asked.append(stream)

    def answer(self) -> None:
        """Answer all who asked, as far as their windows let it."""
        for stream in filter(is_open, self.asked):
            is_head = stream in self.heads
            self.engine.send_headers(stream, HEADERS, end_stream=is_head)
            if not is_head:
                self.pages[stream] = PAGE
        self.asked.clear()
        for stream in filter(is_open, self.pages):
            sent = self.engine.send_data(stream, self.pages[stream], end_stream=True)
            self.pages[stream] = self.pages[stream][sent:]
        self.flush()

    def flush(self) -> None:
        """Send what is to be sent."""
        if self.engine.has_output:
            self.transport.write(self.engine.take_output())

    def stop_timer(self) -> None:
        """Do not answer yet."""
        if self.timer is not None:
            self.timer.cancel()


def is_open(stream: http2.Stream) -> bool:
    """Return whether an answer can still be sent."""
    return stream.can_send


async def run(h2spec: Path, report: Path, port: int) -> set[str]:
    """Run all cases on a server, and return those that do not pass, also the skipped ones."""
    options = [f"--port={port}", f"--path={PATH}", f"--timeout={CASE_MAX_S}", "--strict"]
    process = await asyncio.create_subprocess_exec(
        h2spec, *options, f"--junit-report={report}", stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(ALL_MAX_S):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    cases = list(ET.parse(report).getroot().iter("testcase"))
    assert len(cases) >= CASES_MIN, f"h2spec ran {len(cases)} cases"
    print(f"{report.stem}: {len(cases)} cases")
    return {
        f"{report.stem} {case.get('package')} {case.get('classname')}"
        for case in cases
        if len(case)
    }


async def run_on_both(h2spec: Path, folder: Path) -> set[str]:
    """Run h2spec on a server of gRPC and on one of pages, one after the other."""
    server = Server([Health({})])
    await server.start("127.0.0.1", 0)
    async with server:
        port = int(server.addresses[0].rpartition(":")[2])
        failed = await run(h2spec, folder / "grpc.xml", port)
    pages = await asyncio.get_running_loop().create_server(Pages, "127.0.0.1", 0)
    async with pages:
        port = pages.sockets[0].getsockname()[1]
        return failed | await run(h2spec, folder / "pages.xml", port)


def expected() -> tuple[set[str], set[str]]:
    """Return the cases that do not pass, and those that pass or not by which frame is first."""
    lines = FAILURES.read_text("utf-8").splitlines()
    cases = {line.partition(" # ")[0] for line in lines if line and not line.startswith("#")}
    races = {case for case in cases if case.startswith(RACE)}
    return cases - races, {case.removeprefix(RACE) for case in races}


def main(h2spec: Path, folder: Path) -> int:
    """Return 0 where exactly the cases do not pass that should not."""
    for report in folder.glob("*.xml"):
        report.unlink()  # of an earlier run
    failed = asyncio.run(run_on_both(h2spec, folder))
    known, races = expected()
    failed -= races
    for case in sorted(failed - known):
        print(f"it should pass: {case}")
    for case in sorted(known - failed):
        print(f"it passes, or is no case; take it from failures.txt: {case}")
    return int(failed != known)


if __name__ == "__main__":
    sys.exit(main(*(Path(argument).resolve() for argument in sys.argv[1:3])))
