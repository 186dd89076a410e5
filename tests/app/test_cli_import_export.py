"""``userservice users import`` and ``export``: CSV in and out of a real server."""

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., subprocess.CompletedProcess[str]]
RunEach = Callable[..., list[subprocess.CompletedProcess[str]]]
Start = Callable[..., subprocess.Popen[str]]

COLUMNS = ["id", "email", "name", "avatar", "role", "created_at", "updated_at"]


def exported(run: Run, domain: str, **options: Any) -> list[dict[str, str]]:
    """Return the users of a domain as exported, in the order of their emails."""
    done = run("users", "export", "--filter", f"email:{domain}", "--order-by", "email", **options)
    assert (done.returncode, done.stderr) == (0, "")
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_a_long_import_says_what_was_refused(run: Run, tmp_path: Path) -> None:
    """Of 2,500 rows the good ones are created and listed, and the refused ones are named."""
    rows = [f"user{n}@long.example,User {n}" for n in range(2_500)]
    rows[7] = "no address,Eight"
    rows[1_200] = "USER1@long.example,Twice"
    rows[2_499] = "nameless@long.example,"
    file = tmp_path / "long.csv"
    file.write_text("email,name\n" + "\n".join(rows))
    done = run("users", "import", str(file))
    assert (done.returncode, done.stdout) == (1, "created 2497, refused 3\n")
    refused = ["no address", "USER1@long.example", "nameless@long.example"]
    assert done.stderr.splitlines() == [f"refused: {email}" for email in refused]
    listed = run("users", "list", "--filter", "email:long.example").stdout.splitlines()
    assert len(listed) == 1 + 2_497
    assert [line for line in listed if line.startswith("ID ")] == listed[:1]


def test_an_export_imports_as_what_it_was(
    run: Run, start_server: Callable[[], Any], tmp_path: Path
) -> None:
    """Every value that a user can have comes through an export and an import unchanged."""
    names = ["=SUM(A1)", 'Quo"te, comma', "名前 😀", " trimmed ", "O'Neil; x", "-1", "\u200f\u05d0"]
    source = io.StringIO()
    writer = csv.writer(source)
    writer.writerow(["role", "email", "name"])
    roles = ["", "admin", "ROLE_MODERATOR", "User"]
    writer.writerows([roles[n % 4], f"{n}@trip.example", name] for n, name in enumerate(names))
    assert run("users", "import", "-", said=source.getvalue()).stdout == "created 7, refused 0\n"
    file = tmp_path / "out.csv"
    done = run("users", "export", str(file), "--filter", "email:trip.example")
    assert (done.returncode, done.stdout, done.stderr) == (0, "exported 7\n", "")
    before = exported(run, "trip.example")
    assert [user["name"] for user in before] == [name.strip() for name in names]
    assert [user["role"].removeprefix("ROLE_") for user in before[:4]] == [
        "USER",
        "ADMIN",
        "MODERATOR",
        "USER",
    ]
    assert list(before[0]) == COLUMNS
    assert all(user["created_at"].endswith("Z") and len(user["id"]) == 36 for user in before)

    other = start_server()
    imported = run("users", "import", str(file), "--json", target=other.address)
    assert (imported.returncode, json.loads(imported.stdout)) == (0, {"createdCount": 7})
    after = exported(run, "trip.example", target=other.address)
    kept = ("email", "name", "role")
    assert [[user[key] for key in kept] for user in after] == [
        [user[key] for key in kept] for user in before
    ]


def test_an_import_reads_what_spreadsheets_write(run: Run) -> None:
    """A byte order mark, CRLF, blank lines, quotes, and other columns are no obstacle."""
    text = '\ufeffNote, Name ,EMAIL\r\n"two\r\nlines","Ann ""A""",ann@sheet.example\r\n\r\n'
    text += ",Bob,bob@sheet.example\r\n"
    done = run("users", "import", "-", said=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "created 2, refused 0\n", "")
    assert [user["name"] for user in exported(run, "sheet.example")] == ['Ann "A"', "Bob"]
    nothing = run("users", "import", "-", said="email,name\n")
    assert (nothing.returncode, nothing.stdout) == (0, "created 0, refused 0\n")


def test_a_wrong_file_is_refused_before_anything_is_sent(run_each: RunEach, tmp_path: Path) -> None:
    """A file that cannot be read, or names no columns, is one line; no server is needed."""
    wrong: list[tuple[bytes | None, str]] = [
        (None, "No such file or directory"),
        (b"", "line 1: the columns must be named here, email and name at least; found nothing"),
        (b"\n\nann@example.com,Ann\n", "line 3: the columns must be named here"),
        (b"email;name\n", "found 'email;name'"),
        (b"email,name,email\n", "line 1: the column email is there twice"),
        (b"\xff\xfee\x00m\x00", "line 1: the text is not UTF-8"),
        (b"x" * (1 << 20), "line 1: the line has more than 1,048,576 bytes"),
        (b'email,"name\n', "line 1: this is no CSV"),
    ]

    files = [tmp_path / f"{number}.csv" for number in range(len(wrong))]
    for file, (content, _) in zip(files, wrong, strict=True):
        if content is not None:
            file.write_bytes(content)
    outcomes = run_each([["users", "import", str(file)] for file in files], target="127.0.0.1:1")
    for file, done, (_, said) in zip(files, outcomes, wrong, strict=True):
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1
        assert str(file) in done.stderr
        assert said in done.stderr


def test_a_wrong_row_ends_the_import_there(run: Run, run_each: RunEach, tmp_path: Path) -> None:
    """What stands before a wrong row is created, and its line is named."""
    wrong = [
        (b"x@example.com,X,boss", "'boss' is no role; one is USER, ADMIN, MODERATOR"),
        (b"x@example.com,X", "there are 2 values for 3 columns"),
        (b"x@example.com,\xff,", "the text is not UTF-8"),
        (b'x@example.com,"X', "this is no CSV: unexpected end of data"),
    ]
    files = [tmp_path / f"{number}.csv" for number in range(len(wrong))]
    for number, (row, _) in enumerate(wrong):
        before = f"email,name,role\na{number}@row.example,Ann,\nb{number}@row.example,Bob,\n"
        after = f"c{number}@row.example,Cat,\n"
        files[number].write_bytes(before.encode() + row + b"\n" + after.encode())
    outcomes = run_each([["users", "import", str(file)] for file in files])
    for file, done, (_, said) in zip(files, outcomes, wrong, strict=True):
        assert (done.returncode, done.stdout) == (2, "created 2, refused 0\n")
        [line] = done.stderr.splitlines()
        assert line.startswith(f"userservice: {file}, line 4: {said}")
    assert [user["name"] for user in exported(run, "row.example")] == ["Ann"] * 4 + ["Bob"] * 4


def test_an_import_that_waits_notices_the_server(start: Start) -> None:
    """An import does not wait for its input to find that there is no server."""
    process = start("users", "import", "-", target="127.0.0.1:1")
    assert process.stdin
    process.stdin.write("email,name\na@example.com,Ann\n")
    process.stdin.flush()
    assert process.wait(10) == 78
    assert process.stderr
    assert len(process.stderr.read().splitlines()) == 1


def test_an_export_replaces_a_file_only_when_complete(run: Run, tmp_path: Path) -> None:
    """A failed export leaves the old file, and nothing beside it; a good one keeps its mode."""
    file = tmp_path / "users.csv"
    file.write_text("precious")
    file.chmod(0o600)
    link = tmp_path / "link.csv"
    link.symlink_to(file)
    failed = run("users", "export", str(link), "--filter", "nonsense")
    assert (failed.returncode, len(failed.stderr.splitlines())) == (67, 1)
    assert file.read_text() == "precious"
    done = run("users", "export", str(link), "--filter", "email:nobody.example")
    assert (done.returncode, done.stdout) == (0, "exported 0\n")
    assert file.read_text() == ",".join(COLUMNS) + "\n"
    assert (file.stat().st_mode & 0o777, link.is_symlink()) == (0o600, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.csv", "users.csv"]


def test_an_export_as_json_is_one_user_a_line(run: Run, tmp_path: Path) -> None:
    """Each line is ProtoJSON; the file is replaced as a whole like any other."""
    said = "email,name\nann@json.example,Ann\nbob@json.example,Bob\n"
    assert run("users", "import", "-", said=said).returncode == 0
    file = tmp_path / "users.jsonl"
    arguments = ("users", "export", str(file), "--json", "--filter=email:json.example")
    done = run(*arguments, "--order-by=email")
    assert (done.returncode, done.stdout) == (0, "exported 2\n")
    users = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(user["email"], user["role"]) for user in users] == [
        ("ann@json.example", "ROLE_USER"),
        ("bob@json.example", "ROLE_USER"),
    ]


def test_an_export_that_cannot_be_written_is_one_line(run_each: RunEach, tmp_path: Path) -> None:
    """A folder, a missing folder and a full device are named; a device stays a device."""
    reasons = {
        str(tmp_path): "Is a directory",
        str(tmp_path / "missing" / "users.csv"): "No such file or directory",
        "/dev/full": "No space left on device",
    }
    *outcomes, disordered = run_each(
        [
            ["users", "export", *arguments]
            for arguments in (*([file] for file in reasons), ["--order-by=shoe"])
        ]
    )
    assert (disordered.returncode, disordered.stdout) == (67, "")
    for (file, reason), done in zip(reasons.items(), outcomes, strict=True):
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"userservice: cannot write {file}: {reason}\n"
    assert Path("/dev/full").is_char_device()


def test_long_work_shows_progress_on_a_terminal(run_in_terminal: Run, tmp_path: Path) -> None:
    """At a terminal a bar shows how far it is, and is gone at the end."""
    file = tmp_path / "bar.csv"
    file.write_text("email,name\n" + "".join(f"{n}@bar.example,N\n" for n in range(50)))
    shown = run_in_terminal("users", "import", str(file)).stdout
    assert "importing" in shown
    assert shown.endswith("created 50, refused 0\r\n")
    copy = str(tmp_path / "copy.csv")
    shown = run_in_terminal("users", "export", copy, "--filter", "email:bar.example").stdout
    assert "exporting" in shown
    assert shown.endswith("exported 50\r\n")
