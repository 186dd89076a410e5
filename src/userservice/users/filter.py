"""Filters: which users a list is about (AIP-160).

From text to a checked syntax tree, whose values have the types of their fields. What a store makes
of the tree is the store's concern.
"""

import datetime
import enum
import functools
import importlib.resources
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.lark import PostLex

from userservice.users.errors import excerpt
from userservice.users.model import Field, Role

# Between the 500 of Google's Display & Video 360 and the 20,000 of its Cloud Logging.
MAX_CHARACTERS = 2_000
# So that whoever walks the tree may recurse; SQLite does, to a depth of 1,000.
MAX_DEPTH = 20
# Each row that is read may be tested against all of them.
MAX_COMPARISONS = 100
# google.protobuf.Timestamp counts nanoseconds.
MAX_FRACTION_DIGITS = 9

TIME_FIELDS = frozenset({Field.CREATED_AT, Field.UPDATED_AT})

_NEGATIONS = frozenset({"_NOT", "_MINUS"})
_QUOTES = frozenset("\"'")
_KEYWORDS = frozenset({"AND", "OR", "NOT"})
_ROLES = {"UNSPECIFIED": 0} | {role.name: role.value for role in Role}
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_COMPARISON_EXPECTED = "expected a comparison such as name:ada"
_VALUE_EXPECTED = "expected a value"
_ONE_VALUE = "; a field is compared with one value at a time: (role=ADMIN OR role=USER)"
# Emails are ASCII: str.lower() would also make the Kelvin sign a k.
_LOWER_ASCII = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)

_NEVER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_NEVER_QUOTED = re.compile(r"[\t\n\r]")
_CALL = re.compile(r"[^\s\"'(),<>=!:]+\(")
_WORD = re.compile(r"[^\s\"'(),<>=!:]+|[<>!]=|.", re.DOTALL)
_SEGMENT = re.compile(r"\\(?P<escaped>.)|(?P<stars>\*+)|[^\\*]+", re.DOTALL)
# RFC 3339 section 5.6, without leap seconds: Unix time has none.
_TIME = re.compile(
    r"(?P<seconds>[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
    r"(?:\.(?P<fraction>[0-9]+))?"
    r"(?P<offset>[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


class FilterError(ValueError):
    """The text is no filter.

    Args:
        position: where the fault is, in characters counted from 1.
        reason: what is wrong there, and what would be right.
    """

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(position, reason)
        self.position = position
        self.reason = reason

    def __str__(self) -> str:
        return f"at character {self.position}: {self.reason}"


class Operator(enum.StrEnum):
    """How a comparison compares, by the operators of AIP-160."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    HAS = ":"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text with wildcards.

    Args:
        parts: what stands between the wildcards, literally; two or more, and only the first and
            the last may be empty.
    """

    parts: tuple[str, ...]


# With Operator.HAS, on any field: the field is not empty (AIP-160, "Has operator").
ANYTHING = Pattern(("", ""))

# A role's number in the contract, a time's nanoseconds since the Unix epoch, or text.
Value = str | int | Pattern


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field against one value.

    An email's value is in lower case, for comparing without regard to case.
    """

    field: Field
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class And:
    """All of two or more terms."""

    terms: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of two or more terms."""

    terms: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """All that the term is not."""

    term: "Expression"


Expression = Comparison | And | Or | Not


def parse_filter(text: str) -> Expression | None:
    """Read a filter; None where the text is blank, which is every user (AIP-160).

    Besides what AIP-160 says: blanks between two restrictions may be left out where a quote or a
    parenthesis separates them anyway.

    Raises:
        FilterError: the text breaks the grammar, a type or a limit.
    """
    if len(text) > MAX_CHARACTERS:
        raise FilterError(
            MAX_CHARACTERS + 1,
            f"a filter has at most {MAX_CHARACTERS} characters, this one has {len(text)}",
        )
    if never := _NEVER.search(text):
        raise FilterError(
            never.start() + 1,
            f"U+{ord(never[0]):04X} may not stand in a filter: a control character or a surrogate",
        )
    if not text.strip():
        return None
    try:
        # The tree is what the builder made of it.
        return cast("Expression", load_grammar().parse(text))
    except UnexpectedInput as error:
        raise _syntax_error(text, error) from None


@functools.cache
def load_grammar() -> Lark:
    """Return the parser, made once.

    That takes some 40 ms: a server does it before it serves, not when the first
    filter comes.
    """
    grammar = importlib.resources.files(__package__).joinpath("filter.lark").read_text("utf-8")
    return Lark(
        grammar,
        start="expression",
        parser="lalr",
        lexer="contextual",
        transformer=_Builder(),
        postlex=_Limits(),
    )


class _Limits(PostLex):
    """Holds the tokens on their way to the parser against the limits, so that it stops early."""

    always_accept = ()

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        comparisons, levels, negated = 0, [0], False
        for token in stream:
            comparisons += token.type == "OPERATOR"
            if comparisons > MAX_COMPARISONS:
                reason = f"a filter has at most {MAX_COMPARISONS} comparisons"
                raise FilterError(_position(token), reason)
            if token.type == "_LPAREN":
                levels.append(levels[-1] + negated + 1)
            elif token.type == "_RPAREN" and len(levels) > 1:
                levels.pop()
            negated = token.type in _NEGATIONS
            if levels[-1] + negated > MAX_DEPTH:
                reason = f"parentheses and NOT nest at most {MAX_DEPTH} deep"
                raise FilterError(_position(token), reason)
            yield token


class _Builder(Transformer[Token, Expression]):
    """Makes the tree from the bottom up as the parser reduces, without recursion."""

    def expression(self, terms: list[Expression]) -> Expression:
        return And(tuple(terms))

    def factor(self, terms: list[Expression]) -> Expression:
        return Or(tuple(terms))

    def negation(self, terms: list[Expression]) -> Expression:
        return Not(*terms)

    def restriction(self, tokens: list[Token]) -> Expression:
        return _comparison(*tokens)

    def bare_word(self, tokens: list[Token]) -> Expression:
        (word,) = tokens
        if word in _KEYWORDS:
            raise FilterError(_position(word), f"{_COMPARISON_EXPECTED}, found the keyword {word}")
        reason = f"{excerpt(word)} stands alone; name a field, as in name:ada, and quote blanks"
        raise FilterError(_position(word), reason)


def _comparison(name: Token, sign: Token, argument: Token) -> Comparison:
    field, operator = _field(name), Operator(sign)
    if argument in _KEYWORDS:
        reason = f"{_VALUE_EXPECTED}, found the keyword {argument}; to mean the word, quote it"
        raise FilterError(_position(argument), reason)
    parts = _parts(argument)
    if operator is Operator.HAS and parts == ANYTHING.parts:
        return Comparison(field, operator, ANYTHING)
    kind = _KINDS[field]
    if operator not in kind.operators:
        reason = f"{field} cannot be compared by {operator}, only by {' '.join(kind.operators)}"
        raise FilterError(_position(sign), f"{reason}, or by :* for not being empty")
    return Comparison(field, operator, kind.read(operator, parts, argument))


def _field(name: Token) -> Field:
    try:
        return Field(name)
    except ValueError:
        members = ", and none has members" if "." in name else ""
        reason = f"{excerpt(name)} is no field; the fields are {', '.join(Field)}{members}"
        raise FilterError(_position(name), reason) from None


def _parts(argument: Token) -> tuple[str, ...]:
    """Return what stands between the wildcards, which is one part where there are none."""
    if argument.type != "STRING":
        return tuple(re.split(r"\*+", argument))
    if control := _NEVER_QUOTED.search(argument):
        reason = f"U+{ord(control[0]):04X} may not stand in quotes: a control character"
        raise FilterError(_position(argument) + control.start(), reason)
    parts = [""]
    for segment in _SEGMENT.finditer(argument, 1, len(argument) - 1):
        if segment["stars"]:
            parts.append("")
        elif segment["escaped"]:
            parts[-1] += _unescaped(segment["escaped"], _position(argument) + segment.start())
        else:
            parts[-1] += segment[0]
    return tuple(parts)


def _unescaped(character: str, position: int) -> str:
    if character not in "\"'\\*":
        escape = f"\\{character}" if character.isprintable() else "this"
        raise FilterError(position, rf"{escape} is no escape; there are \" \' \\ and \*")
    return character


def _text(operator: Operator, parts: tuple[str, ...], argument: Token) -> str | Pattern:
    if len(parts) == 1:
        return parts[0]
    if operator not in _WILDCARD_OPERATORS:
        reason = rf"{operator} takes no wildcard; for the character * itself, write \* in quotes"
        raise FilterError(_position(argument), reason)
    return Pattern(parts)


def _email(operator: Operator, parts: tuple[str, ...], argument: Token) -> str | Pattern:
    return _text(operator, tuple(part.translate(_LOWER_ASCII) for part in parts), argument)


def _role(_: Operator, parts: tuple[str, ...], argument: Token) -> int:
    name = "*".join(parts)
    try:
        return _ROLES[name.removeprefix("ROLE_")]
    except KeyError:
        reason = f"{excerpt(name)} is no role; the roles are {', '.join(_ROLES)}"
        raise FilterError(_position(argument), reason) from None


def _time(_: Operator, parts: tuple[str, ...], argument: Token) -> int:
    text = "*".join(parts)
    time = _TIME.fullmatch(text)
    if time and time["fraction"] and len(time["fraction"]) > MAX_FRACTION_DIGITS:
        reason = f"a time has at most {MAX_FRACTION_DIGITS} digits after the point"
        raise FilterError(_position(argument), reason)
    try:
        return _nanoseconds(time)
    except ValueError:
        reason = f"{excerpt(text)} is no RFC 3339 time; one is like 2024-01-31T12:00:00Z"
        raise FilterError(_position(argument), reason) from None


def _nanoseconds(time: re.Match[str] | None) -> int:
    """Return the time since the Unix epoch, exactly.

    Raises:
        ValueError: there is no time, or its day or year is none of the calendar.
    """
    if time is None:
        raise ValueError
    # fromisoformat would take fractions too, but cuts them to microseconds.
    moment = datetime.datetime.fromisoformat((time["seconds"] + time["offset"]).upper())
    seconds = (moment - _EPOCH) // datetime.timedelta(seconds=1)
    return seconds * 10**9 + int((time["fraction"] or "").ljust(9, "0"))


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a type of field can be compared by, and how its values are read."""

    operators: tuple[Operator, ...]
    read: Callable[[Operator, tuple[str, ...], Token], Value]


_WILDCARD_OPERATORS = frozenset({Operator.EQ, Operator.NE, Operator.HAS})

_TEXT_KIND = _Kind(tuple(Operator), _text)
_TIME_KIND = _Kind(tuple(operator for operator in Operator if operator is not Operator.HAS), _time)
_KINDS = {
    Field.ID: _TEXT_KIND,
    Field.EMAIL: _Kind(tuple(Operator), _email),
    Field.NAME: _TEXT_KIND,
    Field.AVATAR: _TEXT_KIND,
    Field.ROLE: _Kind((Operator.EQ, Operator.NE, Operator.HAS), _role),
    Field.CREATED_AT: _TIME_KIND,
    Field.UPDATED_AT: _TIME_KIND,
}


def _syntax_error(text: str, error: UnexpectedInput) -> FilterError:
    """Say what the parser found where, and what it expected there."""
    if isinstance(error, UnexpectedToken):
        expected, ended = error.expected, error.token.type == "$END"
    else:
        expected, ended = cast("UnexpectedCharacters", error).allowed, False
    start = len(text) if ended else error.pos_in_stream or 0
    return FilterError(start + 1, _reason(expected, text[start:]))


def _reason(expected: set[str], rest: str) -> str:
    """Say what is wrong where the parser expected these terminals, and found the rest."""
    word = _WORD.match(rest)
    found = f"found {excerpt(word[0])}" if word else "found the end"
    if call := _CALL.match(rest):
        return f"{excerpt(call[0])} would call a function, and filters have none"
    if "OPERATOR" in expected:
        return f"expected one of {' '.join(Operator)} after the field, {found}"
    if rest[:1] in _QUOTES:
        return f"the quote {rest[0]} is not closed"
    if "TEXT" in expected:
        return f"{_VALUE_EXPECTED}, {found}{_ONE_VALUE if rest[:1] == '(' else ''}"
    if "NAME" in expected and "_AND" not in expected:
        return f"{_COMPARISON_EXPECTED}, {found}"
    return _reason_after_comparison(rest, found)


def _reason_after_comparison(rest: str, found: str) -> str:
    if not rest:
        return "a parenthesis is not closed"
    if rest[0] == ")":
        return "this parenthesis closes none"
    return f"expected AND, OR or another comparison, {found}; quote a value that contains it"


def _position(token: Token) -> int:
    return (token.start_pos or 0) + 1
