"""Users as CSV (RFC 4180), in UTF-8: the rows that are imported and exported.

Values stand as they are, also one that a spreadsheet would take for a formula: an
export must import as what it was.
"""

import csv
import datetime
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from userservice import CreateUserRequest, Role, User
from userservice.app.cli.roles import ROLES, role_name, role_named

EXPORTED = ("id", "email", "name", "avatar", "role", "created_at", "updated_at")

_REQUIRED = ("email", "name")
_OPTIONAL = ("role", "password")
_LINE_MAX_BYTES = 1 << 20  # far above the longest user; a file without line ends is no CSV
_SHOWN_MAX = 60  # characters of a wrong value in an error


class CsvError(Exception):
    """The file is not what can be imported; the text says where, and why."""


class UserRows:
    """The users of a CSV file, read row by row.

    The first line names the columns: ``email`` and ``name``, perhaps ``role`` and
    ``password``. Other columns, such as those of an export, are ignored.

    Args:
        file: the file, at its start.
        name: what errors call it.

    Raises:
        CsvError: the first line is wrong.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._reader = csv.reader(self._lines(), strict=True)
        line, header = next(self._records(), (1, []))
        self._width = len(header)
        self._columns = self._find_columns(line, header)

    def __iter__(self) -> Iterator[CreateUserRequest]:
        """Yield the user of each row; raises CsvError at a row that holds none."""
        for line, record in self._records():
            if len(record) != self._width:
                raise self._error(line, f"there are {len(record)} values for {self._width} columns")
            row = {column: record[index] for column, index in self._columns.items()}
            yield CreateUserRequest(
                email=row["email"],
                name=row["name"],
                role=self._role(line, row.get("role", "")),
                password=row.get("password", ""),
            )

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the line each record starts on, and its values."""
        while True:
            line = self._reader.line_num + 1
            try:
                record = next(self._reader, None)
            except csv.Error as error:
                raise self._error(line, f"this is no CSV: {error}") from error
            if record is None:
                return
            if record:
                yield line, record

    def _lines(self) -> Iterator[str]:
        line = 0
        while content := self._file.readline(_LINE_MAX_BYTES):
            line += 1
            if len(content) == _LINE_MAX_BYTES:
                raise self._error(line, f"the line has more than {_LINE_MAX_BYTES:,} bytes")
            try:
                # Spreadsheets put a byte order mark before the first line.
                yield content.decode("utf-8-sig" if line == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise self._error(line, "the text is not UTF-8") from error

    def _find_columns(self, line: int, header: Sequence[str]) -> dict[str, int]:
        names = [name.strip().lower() for name in header]
        missing = [column for column in _REQUIRED if column not in names]
        if missing:
            found = repr(",".join(header)[:_SHOWN_MAX]) if header else "nothing"
            raise self._error(
                line, f"the columns must be named here, email and name at least; found {found}"
            )
        columns = [column for column in (*_REQUIRED, *_OPTIONAL) if column in names]
        twice = [column for column in columns if names.count(column) > 1]
        if twice:
            raise self._error(line, f"the column {twice[0]} is there twice")
        return {column: names.index(column) for column in columns}

    def _role(self, line: int, text: str) -> Role:
        if not text:
            return Role.UNSPECIFIED
        role = role_named(text)
        if role is None:
            raise self._error(
                line, f"{text[:_SHOWN_MAX]!r} is no role; one is {', '.join(map(role_name, ROLES))}"
            )
        return role

    def _error(self, line: int, fault: str) -> CsvError:
        return CsvError(f"{self._name}, line {line}: {fault}")


def export_row(user: User) -> list[str]:
    """Return the values of a user, in the order of EXPORTED."""
    return [
        user.id,
        user.email,
        user.name,
        user.avatar,
        user.role.proto_name or role_name(user.role),
        _rfc3339(user.created_at),
        _rfc3339(user.updated_at),
    ]


def _rfc3339(time: datetime.datetime | None) -> str:
    if time is None:
        return ""
    return time.astimezone(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
