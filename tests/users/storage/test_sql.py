"""Filters, orders and pages in SQLite: the same as the rules in plain Python."""

import dataclasses
import datetime
import functools
import operator
import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    parse_filter,
)
from userservice.users.model import Field, Role, User
from userservice.users.order import OrderTerm, parse_order
from userservice.users.storage.sql import Clause, after, order_by, sort_key, where

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
NOON = datetime.datetime(2024, 1, 31, 12, 0, 0, 500_000, datetime.UTC)

ADA = User(
    id="0b9f1c9e-0000-4000-8000-000000000001",
    email="Ada@Example.com",
    name="Ada [of] 50%_*?",
    avatar="",
    role=Role.ADMIN,
    created_at=NOON,
    updated_at=NOON + datetime.timedelta(microseconds=1),
)

TABLE = """
CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY, email TEXT NOT NULL, email_key TEXT NOT NULL, name TEXT NOT NULL,
    avatar TEXT NOT NULL, role INTEGER NOT NULL, created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
)
"""


def microseconds(moment: datetime.datetime) -> int:
    """Return the time since the epoch, put together without a float."""
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 10**6 + since.microseconds


def stored(users: Iterable[User]) -> sqlite3.Connection:
    """Return a new database with these users."""
    database = sqlite3.connect(":memory:")
    database.execute(TABLE)
    database.executemany(
        "INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                user.id,
                user.email,
                user.email.lower(),
                user.name,
                user.avatar,
                user.role.value,
                microseconds(user.created_at),
                microseconds(user.updated_at),
            )
            for user in users
        ],
    )
    return database


def selected(database: sqlite3.Connection, clause: Clause, rest: str = "") -> list[str]:
    """Return the ids of the rows that meet a condition."""
    rows = database.execute(f"SELECT id FROM users WHERE {clause.sql} {rest}", clause.parameters)
    return [row[0] for row in rows]


def matches(text: str, user: User = ADA) -> bool:
    """Return whether SQLite finds this user by this filter."""
    database = stored([user])
    try:
        return selected(database, where(parse_filter(text))) == [user.id]
    finally:
        database.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "email=ada@example.COM",
        "email:EXAMPLE",
        "email=ADA@*",
        "email<b",
        "name:Ada",
        "name:''",
        "name=Ada*",
        "name='*[of]*'",
        r"name='* 50%_\*?'",
        "name:'[of]*%'",
        "name:*",
        "name!=ada*",
        "NOT avatar:*",
        "avatar=''",
        "avatar=*",
        "avatar:''",
        "role=ADMIN",
        "role:ROLE_ADMIN",
        "role!=UNSPECIFIED",
        "role:*",
        "created_at:*",
        "created_at=2024-01-31T13:00:00.5+01:00",
        "updated_at=2024-01-31T12:00:00.500001Z",
        "id>=0b9f AND id<0b9g",
    ],
)
def test_a_filter_finds_whom_it_describes(text: str) -> None:
    """Each of these is true of Ada."""
    assert matches(text)


@pytest.mark.parametrize(
    "text",
    [
        "name:ada",
        "name=Ada",
        "name='Ada ?of? *'",
        "name='Ada [of] 50%_\\*'",
        "name:'5_%'",
        "name!=Ada*",
        "avatar:*",
        "avatar!=*",
        "role=UNSPECIFIED",
        "role:USER",
        "-created_at:*",
        "created_at=2024-01-31T12:00:00Z",
        "created_at=2024-01-31T12:00:00.500000001Z",
    ],
)
def test_a_filter_does_not_find_others(text: str) -> None:
    """None of these is true of Ada."""
    assert not matches(text)


@pytest.mark.parametrize(
    ("nanoseconds", "found"),
    [(-1, {"!=", ">", ">="}), (0, {"=", "<=", ">="}), (1, {"!=", "<", "<="})],
)
@pytest.mark.parametrize("sign", ["=", "!=", "<", "<=", ">", ">="])
@pytest.mark.parametrize("moment", [NOON, EPOCH, EPOCH - datetime.timedelta(microseconds=1)])
def test_times_compare_by_the_nanosecond(
    moment: datetime.datetime, sign: str, nanoseconds: int, found: set[str]
) -> None:
    """A nanosecond beside a stored microsecond is another time, before 1970 too."""
    value = microseconds(moment) * 1_000 + nanoseconds
    comparison = Comparison(Field.CREATED_AT, Operator(sign), value)
    database = stored([dataclasses.replace(ADA, created_at=moment)])
    assert bool(selected(database, where(comparison))) == (sign in found)
    database.close()


@pytest.mark.parametrize(
    "hostile",
    [
        "' OR 1=1 --",
        '" OR ""="',
        "'; DROP TABLE users; --",
        "x' UNION SELECT sql FROM sqlite_master --",
        "\\' OR TRUE",
    ],
)
@pytest.mark.parametrize("field", [Field.ID, Field.EMAIL, Field.NAME, Field.AVATAR])
@pytest.mark.parametrize("sign", ["=", ":"])
def test_sql_in_a_value_is_only_a_value(hostile: str, field: Field, sign: str) -> None:
    """No character of a value gets into the text of the SQL."""
    quoted = re.sub(r"([\\\"])", r"\\\1", hostile)
    clause = where(parse_filter(f'{field}{sign}"{quoted}"'))
    assert hostile not in clause.sql
    assert clause.parameters == (hostile.lower() if field is Field.EMAIL else hostile,)
    database = stored([ADA])
    assert selected(database, clause) == []
    assert database.execute("SELECT count(*) FROM users").fetchone() == (1,)
    database.close()


@pytest.mark.parametrize("text", ["id = id", "name='*?*[a-z]*'", "role=ADMIN OR name:x"])
def test_as_many_parameters_as_placeholders(text: str) -> None:
    """Values are bound, one for each question mark."""
    clause = where(parse_filter(text))
    assert clause.sql.count("?") == len(clause.parameters)


def test_wildcards_do_not_explode() -> None:
    """A long value against many wildcards that nearly match takes milliseconds."""
    database = stored([dataclasses.replace(ADA, avatar="a" * 2_048)])
    clause = where(parse_filter("avatar='" + "*a" * 900 + "*b'"))
    start_s = time.perf_counter()
    assert selected(database, clause) == []
    assert time.perf_counter() - start_s < 0.5
    database.close()


def test_the_largest_filter_is_within_the_limits_of_sqlite() -> None:
    """A hundred comparisons below twenty parentheses are still a statement."""
    text = "-(" * 10 + " OR ".join(["id:x"] * 100) + ")" * 10
    assert not matches(text)


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("name", Clause("(name, id) > (?, ?)", ("Ada", "7"))),
        ("name desc, id desc", Clause("(name, id) < (?, ?)", ("Ada", "7"))),
        ("name desc", Clause("(name <= ? AND (name < ? OR id > ?))", ("Ada", "Ada", "7"))),
        ("id", Clause("(id) > (?)", ("7",))),
    ],
)
def test_a_page_begins_after_a_row(text: str, clause: Clause) -> None:
    """One direction is one comparison of rows; several are spelt out."""
    order = parse_order(text)
    user = dataclasses.replace(ADA, id="7", name="Ada")
    assert after(order, sort_key(order, user)) == clause


def plan(columns: str, text: str) -> str:
    """Return how SQLite reads the second page of an order, given an index on these columns."""
    database = stored([])
    database.execute(f"CREATE INDEX paged ON users ({columns})")
    order = parse_order(text)
    clause = after(order, sort_key(order, ADA))
    rows = database.execute(
        f"EXPLAIN QUERY PLAN SELECT id FROM users WHERE {clause.sql} ORDER BY {order_by(order)}",
        clause.parameters,
    ).fetchall()
    database.close()
    return "; ".join(row[3] for row in rows)


@pytest.mark.parametrize("text", ["name=x OR name:Ada", "NOT name=x", "name:Ada role=ADMIN"])
def test_a_clause_is_whole_in_itself(text: str) -> None:
    """Words beside a clause do not reach into it: false AND it is false, NOT it is its opposite."""
    clause = where(parse_filter(text))
    order = parse_order("name desc")
    other = after(order, sort_key(order, dataclasses.replace(ADA, name="z")))
    database = stored([ADA])
    for sql, parameters, ids in [
        (f"FALSE AND {clause.sql}", clause.parameters, []),
        (f"{clause.sql} AND FALSE", clause.parameters, []),
        (f"NOT {clause.sql}", clause.parameters, []),
        (f"NOT {other.sql}", other.parameters, []),
        (f"{clause.sql} AND {other.sql}", clause.parameters + other.parameters, [ADA.id]),
    ]:
        assert selected(database, Clause(sql, parameters)) == ids
    database.close()


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ("created_at, id", ""),
        ("created_at, id", "created_at desc, id desc"),
        ("created_at DESC, id", "created_at desc"),
    ],
)
def test_an_index_finds_the_next_page(columns: str, text: str) -> None:
    """The next page is a range of an index: it is neither scanned for nor sorted."""
    steps = plan(columns, text)
    assert steps.startswith("SEARCH users USING COVERING INDEX paged")
    assert "TEMP B-TREE" not in steps


def test_a_sort_key_has_times_in_whole_microseconds() -> None:
    """The key is what the columns hold, exact to the ends of the calendar."""
    user = dataclasses.replace(
        ADA,
        created_at=datetime.datetime.min.replace(tzinfo=datetime.UTC),
        updated_at=datetime.datetime.max.replace(tzinfo=datetime.UTC),
    )
    order = parse_order("created_at, updated_at, role, email")
    assert sort_key(order, user) == [
        -62_135_596_800_000_000,
        253_402_300_799_999_999,
        2,
        "Ada@Example.com",
        ADA.id,
    ]


# Few characters, so that values meet: what SQL, GLOB and LIKE give a meaning, and what case, code
# points and UTF-16 order differently.
CHARACTERS = "aAb*?[]^-'\"%_\\ éß\ue000😀"
TEXTS = st.text(CHARACTERS, max_size=4)
EMAILS = st.text("aAbB@.*", min_size=1, max_size=4)
TIMES = st.builds(
    lambda seconds, rest: EPOCH + datetime.timedelta(seconds=seconds, microseconds=rest),
    st.integers(-1, 1),
    st.sampled_from([0, 1, 999_999]),
)
USERS = st.builds(
    User,
    id=st.uuids(version=4).map(str),
    email=EMAILS,
    name=TEXTS,
    avatar=TEXTS,
    role=st.sampled_from(Role),
    created_at=TIMES,
    updated_at=TIMES,
)


def patterns(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Pattern]:
    """Make patterns whose parts are like these texts."""
    inner = st.lists(texts.filter(bool), max_size=2)
    return st.builds(lambda first, rest, last: Pattern((first, *rest, last)), texts, inner, texts)


def text_comparisons(field: Field, texts: st.SearchStrategy[str]) -> st.SearchStrategy[Comparison]:
    """Make comparisons of a text field."""
    wild = st.sampled_from([Operator.EQ, Operator.NE, Operator.HAS])
    return st.one_of(
        st.builds(Comparison, st.just(field), st.sampled_from(Operator), texts),
        st.builds(Comparison, st.just(field), wild, patterns(texts)),
    )


COMPARISONS = st.one_of(
    text_comparisons(Field.ID, st.text("0123456789abcdef-", max_size=2)),
    text_comparisons(Field.EMAIL, EMAILS.map(str.lower)),
    text_comparisons(Field.NAME, TEXTS),
    text_comparisons(Field.AVATAR, TEXTS),
    st.builds(
        Comparison,
        st.just(Field.ROLE),
        st.sampled_from([Operator.EQ, Operator.NE, Operator.HAS]),
        st.integers(0, 3),
    ),
    st.builds(
        Comparison,
        st.sampled_from(sorted(TIME_FIELDS)),
        st.sampled_from([sign for sign in Operator if sign is not Operator.HAS]),
        st.builds(
            lambda moment, rest: microseconds(moment) * 1_000 + rest, TIMES, st.integers(-1, 1)
        ),
    ),
    st.builds(Comparison, st.sampled_from(Field), st.just(Operator.HAS), st.just(ANYTHING)),
)
TREES = st.recursive(
    COMPARISONS,
    lambda trees: st.one_of(
        st.builds(Not, trees),
        st.builds(And, st.lists(trees, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(trees, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)

ORDERING: dict[Operator, Callable[[Any, Any], Any]] = {
    Operator.EQ: operator.eq,
    Operator.NE: operator.ne,
    Operator.LT: operator.lt,
    Operator.LE: operator.le,
    Operator.GT: operator.gt,
    Operator.GE: operator.ge,
}


def holds(tree: Expression, user: User) -> bool:
    """Say what a filter means, in Python."""
    match tree:
        case And(terms):
            return all(holds(term, user) for term in terms)
        case Or(terms):
            return any(holds(term, user) for term in terms)
        case Not(term):
            return not holds(term, user)
        case Comparison(field, sign, value):
            actual = value_of(user, field)
            if sign is Operator.HAS:
                return has(actual, value)
            if isinstance(value, Pattern):
                fits = regex(value).fullmatch(str(actual)) is not None
                return fits == (sign is Operator.EQ)
            return bool(ORDERING[sign](actual, value))


def has(actual: str | int, value: Value) -> bool:
    """Say what a colon means: present, contains, or for a role equals."""
    if value == ANYTHING:
        # No role that is stored is 0, and no time is empty.
        return actual != ""
    if isinstance(value, Pattern):
        return regex(value).search(str(actual)) is not None
    return value in str(actual) if isinstance(value, str) else value == actual


def regex(pattern: Pattern) -> re.Pattern[str]:
    """Return the regular expression that a pattern is."""
    return re.compile(".*".join(map(re.escape, pattern.parts)), re.DOTALL)


def value_of(user: User, field: Field) -> str | int:
    """Return a field as filters compare it."""
    value = getattr(user, field)
    if isinstance(value, datetime.datetime):
        return microseconds(value) * 1_000
    if field is Field.EMAIL:
        return str(value).lower()
    return str(value) if isinstance(value, str) else int(value)


@settings(max_examples=200, deadline=None)
@given(TREES, st.lists(USERS, max_size=6, unique_by=lambda user: user.id))
def test_sql_means_what_the_filter_means(tree: Expression, users: list[User]) -> None:
    """For any filter and any users, SQLite finds those for whom the filter is true."""
    database = stored(users)
    expected = [user.id for user in users if holds(tree, user)]
    assert sorted(selected(database, where(tree))) == sorted(expected)
    database.close()


ORDERS = st.lists(
    st.builds(OrderTerm, st.sampled_from(Field), st.booleans()),
    max_size=4,
    unique_by=lambda term: term.field,
).map(
    lambda terms: parse_order(
        ",".join(f"{term.field} {'desc' if term.descending else 'asc'}" for term in terms)
    )
)


def in_order(users: list[User], order: Sequence[OrderTerm]) -> list[str]:
    """Sort by the last term first, since Python's sort is stable and by code point."""
    for term in reversed(order):
        users = sorted(users, key=functools.partial(key_of, term), reverse=term.descending)
    return [user.id for user in users]


def key_of(term: OrderTerm, user: User) -> str | int:
    """Return a field as orders compare it: an email as it was given."""
    return user.email if term.field is Field.EMAIL else value_of(user, term.field)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(USERS, max_size=12, unique_by=lambda user: user.id),
    ORDERS,
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
)
def test_paging_visits_each_row_once_in_order(
    users: list[User], order: tuple[OrderTerm, ...], page_sizes: list[int]
) -> None:
    """Pages of any size, each after the last row of the one before, make up the whole list."""
    database = stored(users)
    by_id = {user.id: user for user in users}
    seen: list[str] = []
    clause = where(None)
    for page_size in page_sizes * (len(users) + 1):
        page = selected(database, clause, f"ORDER BY {order_by(order)} LIMIT {page_size}")
        if not page:
            break
        seen += page
        clause = after(order, sort_key(order, by_id[page[-1]]))
    assert seen == in_order(users, order)
    database.close()


@settings(max_examples=50, deadline=None)
@given(st.lists(USERS, min_size=1, max_size=6, unique_by=lambda user: user.id), ORDERS)
def test_any_key_divides_the_list(users: list[User], order: tuple[OrderTerm, ...]) -> None:
    """A row that is gone is still a place in the list: what comes after it stays the same."""
    gone = users[0]
    database = stored(user for user in users if user is not gone)
    everyone = in_order(users, order)
    rest = selected(database, after(order, sort_key(order, gone)), f"ORDER BY {order_by(order)}")
    assert rest == everyone[everyone.index(gone.id) + 1 :]
    database.close()


def test_ids_are_in_the_order_of_their_text() -> None:
    """Canonical UUIDs sort as text as they do as numbers, so the tie-breaker is total."""
    numbers = [1, 2**64, 2**127, 2**128 - 1]
    texts = [str(uuid.UUID(int=number)) for number in numbers]
    assert sorted(texts) == texts
