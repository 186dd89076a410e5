"""Filters, orders and pages as SQL for the table ``users``.

Pure functions. Every value of a caller is a bound parameter; only names of columns and operators
stand in the text. Columns are never NULL, so NOT and != are the plain complement.

The text is what SQLite and PostgreSQL share, except for what stands at the end.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from userservice.users.filter import (
    ANYTHING,
    TIME_FIELDS,
    And,
    Comparison,
    Expression,
    Not,
    Operator,
    Or,
    Pattern,
    Value,
)
from userservice.users.model import Field, Role, User
from userservice.users.order import OrderTerm

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_NANOSECONDS_PER_MICROSECOND = 1_000

# What GLOB gives a meaning, as itself.
_GLOB_ESCAPES = str.maketrans({character: f"[{character}]" for character in "*?["})


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition, and the values of its placeholders from left to right.

    It is whole in itself: AND, OR and NOT can stand next to it without more parentheses.
    """

    sql: str
    parameters: tuple[str | int, ...] = ()


def where(expression: Expression | None) -> Clause:
    """Return the condition that a row meets where the filter matches its user."""
    match expression:
        case None:
            return Clause("TRUE")
        case Comparison():
            return _comparison(expression)
        case Not(term):
            return _negated(where(term))
        case And(terms):
            return _joined(" AND ", terms)
        case Or(terms):
            return _joined(" OR ", terms)


def order_by(order: Sequence[OrderTerm]) -> str:
    """Return the terms of an ORDER BY, without the keywords."""
    return ", ".join(f"{term.field} {'DESC' if term.descending else 'ASC'}" for term in order)


def after(order: Sequence[OrderTerm], key: Sequence[str | int]) -> Clause:
    """Return the condition that a row meets where it comes after the row with this sort key.

    Args:
        order: the order of the list, which has no two equal rows.
        key: what ``sort_key`` gave for the last row of the page before.
    """
    signs = [_sign(term) for term in order]
    if len(set(signs)) > 1:
        return _after_mixed(order, key)
    # A comparison of rows, because one range of an index serves it.
    columns = ", ".join(term.field for term in order)
    placeholders = ", ".join("?" for _ in key)
    return Clause(f"({columns}) {signs[0]} ({placeholders})", tuple(key))


def sort_key(order: Sequence[OrderTerm], user: User) -> list[str | int]:
    """Return the values that put this user in its place, as the columns have them."""
    return [_stored(user, term.field) for term in order]


def microseconds(time: datetime.datetime) -> int:
    """Return a time as its column has it: microseconds since the Unix epoch, exactly."""
    return (time - _EPOCH) // _MICROSECOND


def time_of(column: int) -> datetime.datetime:
    """Return the time that a column has."""
    return _EPOCH + column * _MICROSECOND


def _comparison(comparison: Comparison) -> Clause:
    # Filters compare emails without regard to case; orders have them as they were given.
    column = "email_key" if comparison.field is Field.EMAIL else comparison.field.value
    operator, value = comparison.operator, comparison.value
    if operator is Operator.HAS:
        return _has(comparison.field, column, value)
    if isinstance(value, Pattern):
        matched = _matches(column, value)
        return _negated(matched) if operator is Operator.NE else matched
    if isinstance(value, int) and comparison.field in TIME_FIELDS:
        return _compared_time(column, operator, value)
    return Clause(f"{column} {operator} ?", (value,))


def _has(field: Field, column: str, value: Value) -> Clause:
    if value == ANYTHING:
        return _present(field, column)
    if isinstance(value, Pattern):
        return _matches(column, Pattern(("", *value.parts, "")))
    if isinstance(value, str):
        return _contains(column, value)
    return Clause(f"{column} = ?", (value,))


def _present(field: Field, column: str) -> Clause:
    if field in TIME_FIELDS:
        return Clause("TRUE")
    empty = "0" if field is Field.ROLE else "''"
    return Clause(f"{column} != {empty}")


def _compared_time(column: str, operator: Operator, nanoseconds: int) -> Clause:
    """Compare a column of microseconds with nanoseconds: exactly, and as an index can serve it."""
    microseconds, rest = divmod(nanoseconds, _NANOSECONDS_PER_MICROSECOND)
    if rest:
        # No row is at this time itself; those before it are at most at the microsecond below.
        if operator in (Operator.EQ, Operator.NE):
            return Clause("FALSE" if operator is Operator.EQ else "TRUE")
        operator = Operator.LE if operator in (Operator.LT, Operator.LE) else Operator.GT
    return Clause(f"{column} {operator} ?", (microseconds,))


def _joined(word: str, terms: Sequence[Expression]) -> Clause:
    clauses = [where(term) for term in terms]
    parameters = tuple(parameter for clause in clauses for parameter in clause.parameters)
    return Clause(f"({word.join(clause.sql for clause in clauses)})", parameters)


def _negated(clause: Clause) -> Clause:
    return Clause(f"(NOT {clause.sql})", clause.parameters)


def _after_mixed(order: Sequence[OrderTerm], key: Sequence[str | int]) -> Clause:
    """From the last column to the first: not before the key, and beyond it or after in the rest.

    The first column's "not before" is a range that an index can serve, which the OR is not.
    """
    *leading, last = zip(order, key, strict=True)
    clause = _beyond(*last)
    for term, value in reversed(leading):
        beyond = _beyond(term, value)
        clause = Clause(
            f"({term.field} {_sign(term)}= ? AND ({beyond.sql} OR {clause.sql}))",
            (value, *beyond.parameters, *clause.parameters),
        )
    return clause


def _beyond(term: OrderTerm, value: str | int) -> Clause:
    return Clause(f"{term.field} {_sign(term)} ?", (value,))


def _sign(term: OrderTerm) -> str:
    return "<" if term.descending else ">"


def _stored(user: User, field: Field) -> str | int:
    value: str | Role | datetime.datetime = getattr(user, field)
    if isinstance(value, datetime.datetime):
        return microseconds(value)
    return value.value if isinstance(value, Role) else value


# SQLite's own: GLOB, instr, and above "?" for a parameter. Its default collation, BINARY, compares
# the bytes of UTF-8, which is the order of code points.


def _matches(column: str, pattern: Pattern) -> Clause:
    glob = "*".join(part.translate(_GLOB_ESCAPES) for part in pattern.parts)
    return Clause(f"{column} GLOB ?", (glob,))


def _contains(column: str, text: str) -> Clause:
    return Clause(f"instr({column}, ?) > 0", (text,))
