"""``userservice chat``: piped, from a file, and typed."""

import getpass
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., subprocess.CompletedProcess[str]]
RunEach = Callable[..., list[subprocess.CompletedProcess[str]]]
Start = Callable[..., subprocess.Popen[str]]


def test_two_processes_hear_each_other(start: Start) -> None:
    """What one says both hear, in one order, and each ends when its input does."""
    ann, bob = start("chat", "--as", "ann", "--json"), start("chat", "--as", "bob")
    assert ann.stdin
    assert ann.stdout
    assert bob.stdin
    assert bob.stdout
    ann.stdin.write("first\n")
    ann.stdin.flush()
    message = json.loads(ann.stdout.readline())
    assert (message["senderId"], message["text"]) == ("ann", "first")
    assert message["timestamp"].endswith("Z")

    bob.stdin.write("hello\n")
    bob.stdin.flush()
    assert json.loads(ann.stdout.readline())["text"] == "hello"
    heard_by_bob = iter(bob.stdout.readline, "")
    assert any(line[10:] == "bob: hello\n" for line in heard_by_bob)

    ann.stdin.write("hi bob\n\nbye")
    ann_rest, ann_stderr = ann.communicate(timeout=10)
    assert [json.loads(line)["text"] for line in ann_rest.splitlines()] == ["hi bob", "bye"]
    bob_rest, bob_stderr = bob.communicate("alone\n", timeout=10)
    assert [line[10:] for line in bob_rest.splitlines()] == [
        "ann: hi bob",
        "ann: bye",
        "bob: alone",
    ]
    assert (ann.returncode, ann_stderr, bob.returncode, bob_stderr) == (0, "", 0, "")


def test_no_line_of_a_long_input_is_lost(run: Run, start: Start, tmp_path: Path) -> None:
    """Who pipes in more than the room keeps for a reader hears all of it, and so from a file."""
    lines = [f"line {n}" for n in range(1_000)]
    text = "\n".join(lines) + "\n"
    (tmp_path / "said").write_text(text)
    with (tmp_path / "said").open() as file:
        from_file = start("chat", "--as", "file", stdin=file)
    piped = run("chat", "--as", "pipe", said=text)
    heard_from_file, _ = from_file.communicate(timeout=20)
    for sender, heard in (("pipe", piped.stdout), ("file", heard_from_file)):
        own = [line[10:] for line in heard.splitlines() if line[10:].startswith(f"{sender}: ")]
        assert own == [f"{sender}: {line}" for line in lines]


def test_a_terminal_chats_until_its_end_of_input(run_in_terminal: Run) -> None:
    """What is typed is said at once; Ctrl-D leaves the room."""
    shown = run_in_terminal(
        "chat", "--as", "ann", dialogue=(("", "hello\n"), ("  ann: hello", "\x04"))
    )
    assert shown.returncode == 0
    assert shown.stdout.count("ann: hello") == 1


def test_ctrl_c_leaves_without_a_traceback(run_in_terminal: Run, start: Start) -> None:
    """Ctrl-C ends a chat with status 130, also while it waits for its input."""
    shown = run_in_terminal(
        "chat", "--as", "ann", dialogue=(("", "hello\n"), ("  ann: hello", "\x03"))
    )
    assert shown.returncode == 130
    assert "Traceback" not in shown.stdout

    piped = start("chat", "--as", "bob")
    assert piped.stdin
    assert piped.stdout
    piped.stdin.write("hello\n")
    piped.stdin.flush()
    piped.stdout.readline()
    piped.send_signal(signal.SIGINT)
    assert piped.wait(10) == 130
    assert piped.stderr
    assert piped.stderr.read().strip() == ""


def test_what_is_said_cannot_act_on_a_terminal(run: Run) -> None:
    """Escape sequences that someone says are printed as text; bytes that are no text too."""
    done = run("chat", "--as", "ann", said="\x1b[2J[red]red[/red]\x07\ttab\n")
    assert done.stdout[10:] == r"ann: \x1b[2J[red]red[/red]\x07\ttab" + "\n"


def test_a_refused_message_is_one_line(run_each: RunEach) -> None:
    """A message that breaks a rule ends the chat with INVALID_ARGUMENT."""
    too_long, nobody = run_each(
        [["chat", "--as", "ann"], ["chat", "--as", ""]], said=["x" * 4_001, "hello\n"]
    )
    assert too_long.returncode == 67
    assert too_long.stderr == (
        "userservice: INVALID_ARGUMENT: text: must have at most 4,000 characters, has 4001\n"
    )
    assert (nobody.returncode, len(nobody.stderr.splitlines())) == (67, 1)


def test_without_a_name_it_is_the_login_name(run_each: RunEach) -> None:
    """`userservice chat` needs no option."""
    [done] = run_each([["chat", "--json"]], said=["hello\n"])
    assert done.returncode == 0
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert (getpass.getuser(), "hello") in [(line["senderId"], line["text"]) for line in said]


def test_a_server_that_stops_is_unavailable(start_server: Any, start: Start) -> None:
    """A chat whose server stops ends with UNAVAILABLE, though its input is still open."""
    server = start_server()
    chat = start("chat", "--as", "ann", target=server.address)
    assert chat.stdin
    assert chat.stdout
    chat.stdin.write("hello\n")
    chat.stdin.flush()
    chat.stdout.readline()
    server.stop()
    assert chat.wait(10) == 78
    assert chat.stderr
    assert len(chat.stderr.read().splitlines()) == 1
