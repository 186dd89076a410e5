"""The documents are true: examples run, links lead somewhere, tables are complete.

What a document may write, by the words behind the three backticks:

- ``python``: a whole program. It must end with status 0 and without a word on standard error.
- ``python file=NAME``: a file, written for a later ``console`` block.
- ``output``: what the program above it prints.
- ``console``: a line that begins with ``$ `` is given to bash, ``> `` goes on with the line
  above, and the lines that follow are what it prints. ``console second`` is a second terminal,
  where one command goes on running: a block without a command shows what more it prints. With
  ``console second typed``, a line that does not begin with ``...`` is typed there.
- ``proto``: a part of one of the project's own .proto files.
- ``sh`` and all others, and ``python notest``: not run.

``...`` stands for any text, as in doctest. All blocks of a document run in their order, in one
folder, with a service of their own that starts empty. 127.0.0.1:50051 becomes its address, and
50052 another free port.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from tests.interop.official import cases, grpcio_cases, test_grpc_go_client, test_grpc_js_client

import userservice
from userservice import rpc
from userservice.app.cli import statuses
from userservice.app.cli import userservice as command_line
from userservice.app.doctor.findings import Step
from userservice.app.doctor.words import WORDS
from userservice.rpc import (
    Limits,
    channelz,
    details,
    health,
    jwks,
    jwt,
    public_keys,
    reflection,
    subject,
    testing,
)
from userservice.rpc.middleware import authentication, bearer
from userservice.users import chat, creation, filter, order, rules, watch  # noqa: A004  # a module
from userservice.users.errors import (
    EmailTakenError,
    InvalidRequestError,
    StorageUnavailableError,
    UserNotFoundError,
    UsersError,
)
from userservice.users.status import rpc_error

pytestmark = pytest.mark.once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
DOCUMENTS = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
KINDS = ("tutorial", "howto", "reference", "explanation")

# Only a document that is wrong takes as long as these.
PLAY_MAX_S = 50
LINE_MAX_S = 20

# Serves for each address that it prints, until its standard input ends.
SERVICES = """
import asyncio, contextlib, sys
from userservice.app.serve import ServeSettings, running_server

async def main():
    async with contextlib.AsyncExitStack() as running:
        for _ in range(int(sys.argv[1])):
            service = running_server(ServeSettings(port=0, database="memory:"))
            print(*(await running.enter_async_context(service)).addresses, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""

# The second terminal in bash's script: file descriptors of its keyboard and its screen.
TYPED, SHOWN = 7, 8

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`]+)`")


def relative(path: Path) -> str:
    """Return a path as a reader sees it."""
    return path.relative_to(ROOT).as_posix()


# --- Blocks -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """What stands between two lines of backticks."""

    path: Path
    line: int
    language: str
    options: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{relative(self.path)}:{self.line}"

    @property
    def file(self) -> str | None:
        """The name of the file that this block is, if it is one."""
        named = [option for option in self.options if option.startswith("file=")]
        return named[0].removeprefix("file=") if named else None

    @property
    def runs(self) -> bool:
        """Whether it is run at all."""
        return self.language in ("python", "console") and "notest" not in self.options

    @property
    def program(self) -> str | None:
        """The program that has to be installed, where not everybody has it."""
        return "buf" if self.language == "console" and "$ buf " in self.text else None


@dataclass(frozen=True)
class Command:
    """A command in a console block, and the lines that it shows.

    The text is empty where the block goes on with what the second terminal shows.
    """

    line: int
    text: str
    shown: tuple[str, ...]


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks of a document."""
    text = path.read_text("utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        language, *options = fence["info"].split() or ["text"]
        line = text.count("\n", 0, fence.start()) + 1
        found.append(Block(path, line, language, tuple(options), fence["text"]))
    return found


def commands_of(block: Block) -> list[Command]:
    """Return the commands of a console block."""
    pieces = re.split(r"^(?=\$ )", block.text, flags=re.MULTILINE)
    line, commands = block.line + 1, []
    for piece in pieces:
        if not piece:
            continue
        first, *rest = piece.splitlines()
        typed = [first.removeprefix("$ ")] if first.startswith("$ ") else []
        shown = rest if typed else [first, *rest]
        while typed and shown and shown[0].startswith("> "):
            typed.append(shown.pop(0).removeprefix("> "))
        commands.append(Command(line, "\n".join(typed), tuple(shown)))
        line += piece.count("\n")
    return commands


BLOCKS = [block for path in DOCUMENTS for block in blocks_of(path)]
RUN = [block for block in BLOCKS if block.runs and block.file is None]


def output_of(program: Block) -> Block | None:
    """Return the block that says what a program prints: the next one of the document."""
    after = [b for b in BLOCKS if b.path == program.path and b.line > program.line]
    is_shown = program.language == "python" and after and after[0].language == "output"
    return after[0] if is_shown else None


# --- Playing a document -----------------------------------------------------------------------


def installed(program: str | None) -> bool:
    """Tell whether a program is there, in the virtual environment or elsewhere."""
    return program is None or shutil.which(program, path=search_path()) is not None


def search_path() -> str:
    """Return a PATH that begins with the virtual environment."""
    return os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


class Stage:
    """The folder, the addresses and the bash script of one document.

    Args:
        folder: an empty folder.
        address: where the server of this document listens.
    """

    def __init__(self, folder: Path, address: str) -> None:
        self.work = folder / "work"
        self.results = folder / "results"
        self.script = folder / "script"
        for made in (self.work, self.results):
            made.mkdir()
        for name in ("examples", "proto"):
            (self.work / name).symlink_to(ROOT / name)
        self._replaced = {"127.0.0.1:50051": address, "50052": str(free_port())}

    def real(self, text: str) -> str:
        """Return the text with the addresses that hold here."""
        for written, real in self._replaced.items():
            text = text.replace(written, real)
        return text

    def printed(self, line: int, kind: str = "out") -> str:
        """Return what was printed by what stands at this line of the document."""
        kept = self.results / f"{line}.{kind}"
        assert kept.exists(), f"it did not come to line {line}"
        return kept.read_text("utf-8")

    def write(self, blocks: Iterable[Block]) -> None:
        """Write the script that plays these blocks."""
        lines: list[str] = []
        for block in blocks:
            if block.file is not None:
                (self.work / block.file).write_text(self.real(block.text), "utf-8")
            elif block.language == "python":
                lines += self._run_program(block)
            elif "second" in block.options:
                lines += self._use_second_terminal(block)
            else:
                lines += [
                    f"eval {self._quoted(command.text)} </dev/null >{result(command.line)} 2>&1"
                    for command in commands_of(block)
                ]
        self.script.write_text("\n".join(lines), "utf-8")

    def _run_program(self, block: Block) -> list[str]:
        program = self.results / f"{block.line}.py"
        program.write_text(self.real(block.text), "utf-8")
        out, errors, status = (result(block.line, kind) for kind in ("out", "errors", "status"))
        python = "PYTHONPATH=examples python -W error -X dev"
        return [
            f"{python} {result(block.line, 'py')} </dev/null >{out} 2>{errors}",
            f"echo $? >{status}",
        ]

    def _use_second_terminal(self, block: Block) -> list[str]:
        lines = []
        for command in commands_of(block):
            if command.text:
                keyboard, screen = (result(command.line, end) for end in ("typed", "shown"))
                lines += [
                    f"mkfifo {keyboard} {screen}",
                    f"exec {TYPED}<>{keyboard} {SHOWN}<>{screen}",
                    f"eval {self._quoted(command.text)} <&{TYPED} >&{SHOWN} 2>&1 &",
                ]
            lines.append(f": >{result(command.line)}")
            for line in command.shown:
                if is_typed(block, line):
                    lines.append(f"echo {shlex.quote(line)} >&{TYPED}")
                else:
                    lines.append(f"IFS= read -r -t {LINE_MAX_S} -u {SHOWN} line")
                    lines.append(f'echo "$line" >>{result(command.line)}')
        return lines

    def _quoted(self, text: str) -> str:
        return shlex.quote(self.real(text))


def result(line: int, kind: str = "out") -> str:
    """Return where bash keeps what came of a line, as bash writes it."""
    return f'"$RESULTS/{line}.{kind}"'


def is_typed(block: Block, line: str) -> bool:
    """Tell whether a line is what the reader types in the second terminal."""
    return "typed" in block.options and not line.startswith("...")


def environment(**settings: str) -> dict[str, str]:
    """Return what a program of a document finds in its environment."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("USERSERVICE_")}
    return own | {
        "PATH": search_path(),
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "error",
        **settings,
    }


def play(path: Path, folder: Path, address: str) -> Stage:
    """Run all blocks of a document, in their order."""
    stage = Stage(folder, address)
    stage.write(b for b in BLOCKS if b.path == path and b.runs and installed(b.program))
    with subprocess.Popen(
        ["bash", stage.script],
        cwd=stage.work,
        env=environment(USERSERVICE_TARGET=address, RESULTS=str(stage.results)),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            process.wait(PLAY_MAX_S)
        finally:
            # With it goes whatever runs in the second terminal.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return stage


@pytest.fixture(scope="session")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[str]]:
    """Addresses of services that are all empty, as many as there are documents."""
    log = tmp_path_factory.mktemp("services") / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-c", SERVICES, str(len(DOCUMENTS))],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        yield iter([process.stdout.readline().strip() for _ in DOCUMENTS])
        process.communicate(timeout=LINE_MAX_S)  # ends its standard input, and so itself
    assert process.returncode == 0, log.read_text()
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture(scope="session")
def played(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    addresses: Iterator[str],
) -> Iterator[Callable[[Path], Stage]]:
    """Plays the documents whose blocks were selected, as many at once as there are cores."""
    tests = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    selected = {test["block"].path for test in tests if isinstance(test.get("block"), Block)}
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        stages = {
            path: threads.submit(play, path, tmp_path_factory.mktemp(path.stem), next(addresses))
            for path in DOCUMENTS
            if path in selected
        }
        yield lambda path: stages[path].result()


# --- The examples -----------------------------------------------------------------------------


def assert_shows(stage: Stage, expected: str, printed: str) -> None:
    """Compare as doctest does; the last line may lack its end."""
    checker = doctest.OutputChecker()
    example = doctest.Example("", stage.real(expected).strip("\n") + "\n")
    got = printed.strip("\n") + "\n"
    same = checker.check_output(example.want, got, doctest.ELLIPSIS)
    assert same, checker.output_difference(example, got, doctest.ELLIPSIS)


@pytest.mark.parametrize("block", [b for b in RUN if b.language == "console"], ids=str)
def test_a_command_shows_what_the_document_says(
    played: Callable[[Path], Stage], block: Block
) -> None:
    """Every command of every console block."""
    if not installed(block.program):
        pytest.skip(f"{block.program} is not installed")
    stage = played(block.path)
    for command in commands_of(block):
        expected = [line for line in command.shown if not is_typed(block, line)]
        assert_shows(stage, "\n".join(expected), stage.printed(command.line))


@pytest.mark.parametrize("block", [b for b in RUN if b.language == "python"], ids=str)
def test_a_program_runs(played: Callable[[Path], Stage], block: Block) -> None:
    """With warnings as errors, in development mode, and no word of trouble."""
    stage = played(block.path)
    errors = stage.printed(block.line, "errors").splitlines()
    # asyncio's debug mode says so when this machine is slow.
    assert not [line for line in errors if not line.startswith("Executing <")]
    assert stage.printed(block.line, "status") == "0\n"
    output = output_of(block)
    if output is not None:
        assert_shows(stage, output.text, stage.printed(block.line))


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.file], ids=str)
def test_a_file_is_used(block: Block) -> None:
    """A later block of the document runs or imports what this one writes."""
    stem = Path(str(block.file)).stem
    later = [b.text for b in BLOCKS if b.path == block.path and b.line > block.line]
    assert any(re.search(rf"\b{re.escape(stem)}\b", text) for text in later)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "proto"], ids=str)
def test_an_excerpt_is_one(block: Block) -> None:
    """What is shown of a contract stands in it, word for word."""
    contracts = [*ROOT.glob("proto/**/*.proto"), *ROOT.glob("examples/*/proto/**/*.proto")]
    assert any(block.text in contract.read_text("utf-8") for contract in contracts)


# --- The prose --------------------------------------------------------------------------------


def prose_of(path: Path) -> str:
    """Return a document without its blocks."""
    return _FENCE.sub("", path.read_text("utf-8"))


def anchors_of(path: Path) -> set[str]:
    """Return what a link to a heading of this document can end in."""
    anchors: set[str] = set()
    for heading in _HEADING.findall(prose_of(path)):
        words = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        repeated = sum(
            re.fullmatch(rf"{re.escape(words)}(-\d+)?", seen) is not None for seen in anchors
        )
        anchors.add(f"{words}-{repeated}" if repeated else words)
    return anchors


def links_of(path: Path) -> list[str]:
    """Return where the links of a document lead that stay inside the project."""
    links = _LINK.findall(_CODE.sub("", prose_of(path)))
    return [link for link in links if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_every_block_is_understood(path: Path) -> None:
    """None hides from these tests, as one that is indented would, or one with a wrong word."""
    assert "```" not in prose_of(path)
    words = {word for block in blocks_of(path) for word in block.options if "=" not in word}
    assert words <= {"notest", "second", "typed"}
    outputs = [block for block in blocks_of(path) if block.language == "output"]
    assert outputs == [found for block in RUN if block.path == path if (found := output_of(block))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(path: Path) -> None:
    """To a file or folder of the project, and to a heading that is there."""
    for link in links_of(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors_of(target), link


def test_the_index_names_every_document() -> None:
    """docs/README.md links to each document of the four kinds, and to the decisions."""
    linked = {(DOCS / link).resolve() for link in links_of(DOCS / "README.md")}
    documents = {path for kind in KINDS for path in (DOCS / kind).glob("*.md")}
    assert documents | {DOCS / "adr/README.md"} <= linked


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_files_that_are_named_are_there(path: Path) -> None:
    """A path in the prose is one of the project, from its root or from src/userservice."""
    for code in _CODE.findall(prose_of(path)):
        if re.fullmatch(r"[\w./-]+/[\w.-]+\.(py|proto|sql|lark|binpb|toml|yaml)", code):
            assert (ROOT / code).exists() or (ROOT / "src/userservice" / code).exists(), code


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_what_is_not_run_names_what_there_is(path: Path) -> None:
    """Options of our commands, sessions of nox, and versions of tools."""
    text = path.read_text("utf-8")
    for block in blocks_of(path):
        if block.language == "sh":
            for line in re.split(r"\n|\||&&", block.text.replace("\\\n", " ")):
                assert_is_a_command(line)
    noxfile = (ROOT / "noxfile.py").read_text("utf-8")
    sessions = set(re.findall(r"^def (\w+)\(session", noxfile, re.MULTILINE))
    assert set(re.findall(r"nox -s (\w+)", text)) <= sessions
    pinned = (ROOT / "pyproject.toml").read_text("utf-8")
    assert [pin for pin in re.findall(r"[\w-]+==[\d.]+", text) if pin not in pinned] == []


def assert_is_a_command(line: str) -> None:
    """Where a line runs ``userservice``, click knows the command and the options."""
    words = shlex.split(line, comments=True)
    programs = [number for number, word in enumerate(words) if Path(word).name == "userservice"]
    if not programs or not words[programs[0] + 1 :]:
        return
    names = words[programs[0] + 1 :]
    path = tuple(name for name in names[:2] if name in {n for c in COMMANDS for n in c})
    given = {word.split("=")[0] for word in names if word.startswith("--")}
    assert path in COMMANDS, line
    assert given <= {name for option in COMMANDS[path] for name in option.opts}, line


# --- The reference ----------------------------------------------------------------------------


def section_of(path: Path, title: str) -> str:
    """Return what stands under a heading, up to the next one."""
    pieces = re.split(r"^#{1,6} +(.+)\n", prose_of(path), flags=re.MULTILINE)
    sections = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    assert title in sections, f"{relative(path)} has no heading {title!r}"
    return sections[title]


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of the tables in a text, without the heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    heads = {number - 1 for number, row in enumerate(rows) if set("".join(row)) <= set("-: ")}
    body = [
        row for number, row in enumerate(rows) if number not in heads and number - 1 not in heads
    ]
    return [[cell.replace("\\|", "|") for cell in row] for row in body]


def codes_of(rows: Iterable[list[str]], column: int = 0) -> list[str]:
    """Return what a column of a table has as code."""
    return [code for row in rows for code in _CODE.findall(row[column])]


def commands_under(
    command: click.Command, path: tuple[str, ...]
) -> dict[tuple[str, ...], list[click.Option]]:
    """Return the options of a command and of those under it, without --help."""
    context = click.Context(command)
    found = {path: [p for p in command.params if isinstance(p, click.Option)]}
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            under = command.get_command(context, name)
            assert under is not None
            found |= commands_under(under, (*path, name))
    return found


COMMANDS = commands_under(command_line, ())
OPTIONS = {option.opts[0]: option for options in COMMANDS.values() for option in options}


def row_of(option: click.Option) -> tuple[str, str, str]:
    """Return an option, its default and its variable, as the tables write them."""
    default = f"`{option.default}`" if option.show_default else ""
    variable = f"`{option.envvar}`" if option.envvar else ""
    return option.opts[0], default, variable


def title_of(path: tuple[str, ...]) -> str:
    """Return a command as people write it."""
    return " ".join(("userservice", *path))


@pytest.mark.parametrize("path", COMMANDS, ids=title_of)
def test_every_option_is_in_the_reference(path: tuple[str, ...]) -> None:
    """Each command has a heading, and a table of exactly its options, defaults and variables."""
    rows = rows_of(section_of(REFERENCE / "command-line.md", f"`{title_of(path)}`"))
    written = [(_CODE.findall(row[0])[0].split()[0], row[1], row[2]) for row in rows]
    assert sorted(written) == sorted(map(row_of, COMMANDS[path]))


def test_the_reference_names_no_other_option() -> None:
    """Whatever looks like an option is one."""
    words = re.findall(r"(?<![\w-])--[a-z][a-z-]*", prose_of(REFERENCE / "command-line.md"))
    assert set(words) == {*OPTIONS, "--help"}


def test_every_sign_of_the_doctor_is_in_the_reference() -> None:
    """Its steps, and each sign with its step, its mark and what it says."""
    doctor = REFERENCE / "doctor.md"
    assert codes_of(rows_of(section_of(doctor, "Steps"))) == [step.value for step in Step]
    assert rows_of(section_of(doctor, "Signs")) == [
        [f"`{sign}`", words.step.value, words.mark.value, re.sub(r":[^{}]*}", "}", words.text)]
        for sign, words in WORDS.items()
    ]


def test_the_reference_names_every_exit_status() -> None:
    """Those that the program itself explains."""
    written = codes_of(rows_of(section_of(REFERENCE / "command-line.md", "Exit statuses")))
    known = {name: value for name, value in vars(statuses).items() if isinstance(value, int)}
    base = known.pop("_RPC_BASE")
    assert set(written) == {*map(str, known.values()), f"{base} + n"}


def test_every_setting_is_in_the_reference() -> None:
    """The variables of all options, with the option and its default."""
    rows = rows_of(section_of(REFERENCE / "settings.md", "Variables"))
    written = {
        tuple(code.split()[0] for cell in row[:3] for code in _CODE.findall(cell)) for row in rows
    }
    assert written == {
        (str(option.envvar), name, *([str(option.default)] if option.show_default else []))
        for name, option in OPTIONS.items()
        if option.envvar
    }


_UNITS = {"": 1, "s": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def test_every_limit_is_in_the_reference() -> None:
    """Its name and its default; 2 GiB are the most that a signed number holds."""
    limits = REFERENCE / "limits.md"
    titles = ("Messages", "Calls and connections", "Floods")
    rows = [row for title in titles for row in rows_of(section_of(limits, title))]
    written = {}
    for name, default, *_ in rows:
        number, _, unit = default.replace(",", "").partition(" ")
        value = None if number == "none" else int(number) * _UNITS[unit]
        written[name.strip("`")] = 2**31 - 1 if value == 2**31 else value
    assert written == {field.name: getattr(Limits(), field.name) for field in fields(Limits)}


@pytest.mark.parametrize(
    ("title", "name", "numbers"),
    [
        ("Fields", "email", [rules.EMAIL_MAX]),
        ("Fields", "name", [rules.NAME_MAX]),
        ("Fields", "avatar", [rules.AVATAR_MAX]),
        ("Fields", "password", [rules.PASSWORD_MIN, rules.PASSWORD_MAX]),
        ("Lists", "page_size", [rules.PAGE_DEFAULT, rules.PAGE_MAX]),
        ("Lists", "filter", [filter.MAX_CHARACTERS, filter.MAX_COMPARISONS, filter.MAX_DEPTH]),
        ("Lists", "order_by", [order.MAX_CHARACTERS]),
        ("Watch", "resume_token", [watch.BEHIND_MAX]),
        ("Batch", "failed_emails", [creation._FAILED_MAX, rules.EMAIL_MAX]),
        ("Chat", "sender_id", [rules.SENDER_MAX]),
        ("Chat", "text", [rules.CHAT_TEXT_MAX]),
    ],
)
def test_the_numbers_of_the_rules_are_those_of_the_code(
    title: str, name: str, numbers: list[int]
) -> None:
    """The row of a field has its limits."""
    rows = rows_of(section_of(REFERENCE / "rules.md", title))
    [row] = [row for row in rows if codes_of([row]) == [name]]
    assert [n for n in numbers if not re.search(rf"(?<![\d,]){n:,}(?![\d,]*\d)", row[1])] == []


def test_the_other_numbers_of_the_rules() -> None:
    """What stands in the prose: how far one may be behind, and the size of a group."""
    text = prose_of(REFERENCE / "rules.md")
    for number, unit in [
        (watch.BEHIND_MAX, "revisions"),
        (chat.UNREAD_MAX, "messages"),
        (creation._GROUP, "users"),
        (filter.MAX_FRACTION_DIGITS, "digits"),
    ]:
        assert f"{number} {unit}" in text


@pytest.mark.parametrize(
    ("title", "parse"), [("Filter", filter.parse_filter), ("Order", order.parse_order)]
)
def test_filters_and_orders_are_read(title: str, parse: Callable[[str], object]) -> None:
    """What the reference writes can be parsed; what it says is refused is, with these words."""
    for text in codes_of(rows_of(section_of(REFERENCE / "rules.md", f"{title}: examples"))):
        parse(text)
    refused = rows_of(section_of(REFERENCE / "rules.md", f"{title}: refused"))
    assert refused
    for row in refused:
        with pytest.raises(ValueError) as fault:  # noqa: PT011  # its text is compared below
            parse(codes_of([row])[0])
        assert str(fault.value) == row[1]


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError([]),
        UserNotFoundError("nobody"),
        EmailTakenError("ann@example.com"),
        StorageUnavailableError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_have_the_status_and_the_details_of_the_reference(error: UsersError) -> None:
    """A row for each error of the domain: status, reason, and the messages in the details."""
    known = rpc_error(error)
    assert known is not None
    info = known.detail(details.ErrorInfo)
    assert info is not None
    others = {type(detail).__name__ for detail in known.details or ()} - {"ErrorInfo"}
    rows = rows_of(section_of(REFERENCE / "errors.md", "What the user service answers"))
    written = [(row[0], row[1], set(codes_of([row], 2))) for row in rows]
    assert (f"`{known.status.name}`", f"`{info.reason}`", others) in written


def test_every_status_is_in_the_reference() -> None:
    """The class, the name and the number of each."""
    rows = rows_of(section_of(REFERENCE / "errors.md", "Statuses and classes"))
    names = set(rpc.__all__) - {"RpcError", "TargetError", "TlsError"}
    kinds = [getattr(rpc, name) for name in names if name.endswith("Error")]
    assert [row[:3] for row in rows] == [
        [f"`{kind.__name__}`", f"`{kind.STATUS.name}`", str(kind.STATUS.value)]
        for kind in sorted(kinds, key=lambda kind: kind.STATUS.value)
    ]


@pytest.mark.parametrize(
    "module",
    [
        *(userservice, rpc, channelz, details, health, reflection, testing),
        *(subject, jwt, public_keys, jwks, authentication, bearer),
    ],
    ids=lambda module: module.__name__,
)
def test_public_names_are_in_the_reference(module: Any) -> None:
    """Exactly those of ``__all__``, once each, with a word about them; and they are there."""
    rows = rows_of(section_of(REFERENCE / "python.md", f"`{module.__name__}`"))
    assert sorted(codes_of([row])[0] for row in rows) == sorted(module.__all__)
    assert all(row[1] for row in rows)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_the_official_cases_are_in_the_reference() -> None:
    """Each case that our client runs, and those of others, with what it is run with."""
    rows = rows_of(section_of(REFERENCE / "interoperability.md", "The official test cases"))
    soaks = ["rpc_soak", "channel_soak"]
    everywhere = [*cases.CASES, *soaks]
    assert [row[0] for row in rows if "grpc-go" in row[1]] == [f"`{name}`" for name in everywhere]
    assert [row[0] for row in rows if "grpc-go" in row[2]] == [f"`{name}`" for name in everywhere]
    assert {*test_grpc_go_client.CASES, *soaks} == set(everywhere)
    ours = [*cases.CASES, *cases.CLIENT_COMPRESSES, *cases.SERVER_COMPRESSES, *soaks]
    assert [row[0] for row in rows] == [f"`{name}`" for name in ours]
    by_js = test_grpc_js_client.CASES
    assert [row[0] for row in rows if "grpc-js" in row[2]] == [f"`{name}`" for name in by_js]
    by_grpcio = [*grpcio_cases.CASES, *grpcio_cases.SERVER_COMPRESSES, *soaks]
    assert [row[0] for row in rows if "grpcio" in row[2]] == [f"`{name}`" for name in by_grpcio]


def test_the_version_of_python_is_the_one_required() -> None:
    """Where a document says which Python it takes, it is the one of pyproject.toml."""
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    named = re.findall(r"Python (3\.\d+) or newer", "".join(map(prose_of, DOCUMENTS)))
    assert named
    assert set(named) == {required.removeprefix(">=")}
