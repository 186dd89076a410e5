"""What a header block may hold: field names, values and pseudo-headers (RFC 9113 section 8).

A malformed block ends its stream, not the connection (section 8.1.1).
"""

import enum
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

Fields = Sequence[tuple[str, str]]


class Kind(enum.IntEnum):
    """What a header block is; each kind has its own pseudo-headers."""

    REQUEST = 1
    RESPONSE = 2
    TRAILERS = 3


# By itself: through its class a member costs 0.15 us in Python 3.11.
REQUEST, RESPONSE, TRAILERS = Kind

# Section 8.2.1: a name has no upper-case letter, no control, no space and no byte from 0x7f
# on; RFC 9110 section 5.6.2 leaves these (tokens). Several names are read at once.
_NAMES: Final = re.compile(r"(?:[!#$%&'*+\-.^_`|~0-9a-z]+\n)*").fullmatch
# Section 8.2.1: no value has NUL or CR, or space or tab at either end; nor LF, which here
# stands around each. To look for these one by one takes a fifth of a pattern's time.
_NOT_IN_VALUES: Final = ("\0", "\r", "\n ", "\n\t", " \n", "\t\n")

# grpcio sends an error's text as it is, also one that ends in a blank. To take that for a broken
# response would hide the error; it is passed on to nobody.
_TEXTS: Final = frozenset({"grpc-message"})

_CONNECTION_SPECIFIC: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)
_PSEUDO: Final = {
    REQUEST: frozenset({":method", ":scheme", ":authority", ":path"}),
    RESPONSE: frozenset({":status"}),
    TRAILERS: frozenset[str](),
}
_STATUS: Final = re.compile(r"[1-9][0-9][0-9]").fullmatch
_LENGTH: Final = re.compile(r"[0-9]{1,19}").fullmatch


class Finding(NamedTuple):
    """What is to be known of a header block before its meaning."""

    problem: str | None
    """Why the block is malformed, with the section of RFC 9113, or None."""
    content_length: int | None
    """How many bytes of data will follow, where a well-formed block says it."""


# Fields whose value no rule asks for, or which are as they are in every call: what else is to
# be known of a block is said by the order in which they come.
_REGULAR: Final = "."
ODD: Final = "?"
"""The mark of a field that needs a closer look, as has a block whose marks are not known."""
_MARKED: Final = {":method": "m", ":scheme": "s", ":path": "p", ":authority": "a"}
_MARKED_FIELDS: Final = {(":status", "200"): "o", ("te", "trailers"): "t"}
_CLOSELY: Final = frozenset({":status", "te", "host", "content-length"}) | _CONNECTION_SPECIFIC
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch

# The names of regular fields that came before: to look a name up takes a quarter of the time
# of the pattern.
_REGULAR_NAMES_MAX: Final = 1024
_NAME_SIZE_MAX: Final = 64
_regular_names: Final[set[str]] = set()

# Shapes are as many as there are ways to call; who makes up more only has them looked at anew.
_SHAPES_MAX: Final = 256
_SHAPE_SIZE_MAX: Final = 128
_found: Final[dict[tuple[str, Kind], "Finding"]] = {}


def mark_of(name: str, value: str) -> str:
    """Return what a field is to the rules of its block, as one character.

    The marks of a block's fields are its shape. Blocks of the same shape are well-formed or
    malformed alike, so a field that is in a table of HPACK is not looked at again.
    """
    if "\0" in value or "\r" in value or "\n" in value or value.strip(" \t") != value:
        return ODD
    if name in _regular_names:
        return _REGULAR
    if name in _MARKED:
        return _MARKED[name] if value and value != "CONNECT" else ODD
    if name in _CLOSELY:
        return _MARKED_FIELDS.get((name, value), ODD)
    if not _NAME(name):
        return ODD
    if len(_regular_names) < _REGULAR_NAMES_MAX and len(name) <= _NAME_SIZE_MAX:
        _regular_names.add(name)
    return _REGULAR


def check(fields: Fields, kind: Kind, shape: str = ODD) -> Finding:
    """Say what is to be known of a header block before its meaning.

    Args:
        fields: all of its fields.
        kind: what the block is.
        shape: the marks of the fields, where they are known.
    """
    if ODD in shape or len(shape) > _SHAPE_SIZE_MAX:
        return _look_at(fields, kind)
    finding = _found.get((shape, kind))
    if finding is None:
        if len(_found) >= _SHAPES_MAX:
            _found.clear()
        finding = _found[shape, kind] = _look_at(fields, kind)
    return finding


def _look_at(fields: Fields, kind: Kind) -> Finding:
    """Look at the fields of a header block, all of them at a time."""
    pseudo: dict[str, str] = {}
    regular: dict[str, str] = {}
    for name, value in fields:
        # A pseudo-header after a regular field is taken for one, which has no such name.
        (regular if regular or name[:1] != ":" else pseudo)[name] = value
    problem = (
        _problem_of_names(pseudo, regular, kind)
        or _problem_of_values(
            [value.strip(" ") if name in _TEXTS else value for name, value in fields]
        )
        or (_problem_of_repeated(fields) if len(pseudo) + len(regular) < len(fields) else None)
        or _problem_of_regular(regular)
    )
    if problem is None and kind is REQUEST:
        problem = _problem_of_request(pseudo, regular.get("host"))
    elif problem is None and kind is RESPONSE:
        problem = _problem_of_status(pseudo.get(":status", ""))
    length = None if problem else regular.get("content-length")
    return Finding(problem, None if length is None else int(length))


def _problem_of_names(pseudo: dict[str, str], regular: dict[str, str], kind: Kind) -> str | None:
    if not _PSEUDO[kind].issuperset(pseudo):
        return f"a pseudo-header that does not belong in a {kind.name} (section 8.3)"
    text = "\n".join((*regular, ""))
    if text.count("\n") != len(regular) or not _NAMES(text):
        return "a field name that is none, or a pseudo-header after it (sections 8.2.1 and 8.3)"
    if not _CONNECTION_SPECIFIC.isdisjoint(regular):
        return "a field that belongs to HTTP/1.1 (section 8.2.2)"
    return None


def _problem_of_values(values: list[str]) -> str | None:
    text = "\n".join(("", *values, ""))
    if text.count("\n") != len(values) + 1 or any([mark in text for mark in _NOT_IN_VALUES]):  # noqa: C419  a list takes half the time of a generator
        return "a field value that is none (section 8.2.1)"
    return None


def _problem_of_repeated(fields: Fields) -> str | None:
    """Find what may not come twice; most fields may (RFC 9110 section 5.3)."""
    first: dict[str, str] = {}
    for name, value in fields:
        if name in first and (name[:1] == ":" or name == "host"):
            return f"{name} twice (section 8.3)"
        if first.setdefault(name, value) != value and name in ("content-length", "te"):
            return f"two values of {name} (section 8.1.1)"
    return None


def _problem_of_regular(regular: dict[str, str]) -> str | None:
    if regular.get("te", "trailers").lower() != "trailers":
        return "te may only be trailers (section 8.2.2)"
    if not _LENGTH(regular.get("content-length", "0")):
        return "content-length is no number (section 8.1.1)"
    return None


def _problem_of_request(pseudo: dict[str, str], host: str | None) -> str | None:
    if pseudo.get(":method") == "CONNECT":
        # Section 8.5: only :authority goes with it.
        if ":scheme" in pseudo or ":path" in pseudo or ":authority" not in pseudo:
            return "CONNECT with :scheme or :path, or without :authority (section 8.5)"
    elif not (pseudo.get(":method") and pseudo.get(":scheme") and pseudo.get(":path")):
        return "no :method, :scheme or :path (section 8.3.1)"
    if host is not None and pseudo.get(":authority", host).lower() != host.lower():
        return "host and :authority differ (section 8.3.1)"
    return None


def _problem_of_status(status: str) -> str | None:
    if not _STATUS(status):
        return ":status is no status (section 8.3.2)"
    if status == "101":
        return "101 has no meaning in HTTP/2 (section 8.6)"
    return None
