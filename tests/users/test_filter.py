"""Filters of AIP-160: what they mean, and what is said of those that are wrong."""

import contextlib
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from userservice.users.filter import (
    ANYTHING,
    MAX_CHARACTERS,
    MAX_COMPARISONS,
    MAX_DEPTH,
    TIME_FIELDS,
    And,
    Comparison,
    Expression,
    FilterError,
    Not,
    Operator,
    Or,
    Pattern,
    Value,
    parse_filter,
)
from userservice.users.model import Field

BILLION = 10**9
NEW_YEAR_2024 = 1_704_067_200 * BILLION


def comparison(field: str, operator: str, value: Value) -> Comparison:
    """Make a comparison from the texts of its parts."""
    return Comparison(Field(field), Operator(operator), value)


ADA = comparison("name", "=", "ada")
ADMIN = comparison("role", "=", 2)
NO_AVATAR = comparison("avatar", "=", "")


def fault(text: str) -> FilterError:
    """Return the error that this filter is."""
    with pytest.raises(FilterError) as raised:
        parse_filter(text)
    return raised.value


@pytest.mark.parametrize("text", ["", " ", "\t\r\n", "\u00a0\u2003"])
def test_blank_text_is_no_filter(text: str) -> None:
    """Blank text matches every user."""
    assert parse_filter(text) is None


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("name=ada", ADA),
        ("  name  =\tada\n", ADA),
        ("name=ada AND role=ADMIN", And((ADA, ADMIN))),
        ("name=ada role=ADMIN", And((ADA, ADMIN))),
        ("name=ada role=ADMIN AND avatar=''", And((ADA, ADMIN, NO_AVATAR))),
        ("name=ada OR role=ADMIN OR avatar=''", Or((ADA, ADMIN, NO_AVATAR))),
        ("name=ada AND role=ADMIN OR avatar=''", And((ADA, Or((ADMIN, NO_AVATAR))))),
        ("name=ada OR role=ADMIN AND avatar=''", And((Or((ADA, ADMIN)), NO_AVATAR))),
        ("name=ada OR role=ADMIN avatar=''", And((Or((ADA, ADMIN)), NO_AVATAR))),
        ("name=ada OR (role=ADMIN AND avatar='')", Or((ADA, And((ADMIN, NO_AVATAR))))),
        ("(name=ada)", ADA),
        ("((name=ada) (role=ADMIN))", And((ADA, ADMIN))),
        ("NOT name=ada", Not(ADA)),
        ("-name=ada", Not(ADA)),
        ("NOT(name=ada)", Not(ADA)),
        ("-(name=ada role=ADMIN)", Not(And((ADA, ADMIN)))),
        ("NOT (NOT name=ada)", Not(Not(ADA))),
        ("-name=ada OR -role=ADMIN", Or((Not(ADA), Not(ADMIN)))),
        ("name=ada -role=ADMIN", And((ADA, Not(ADMIN)))),
        ('name="ada"OR(role=ADMIN)', Or((ADA, ADMIN))),
    ],
)
def test_terms_combine_as_the_grammar_of_aip_160_has_it(text: str, tree: Expression) -> None:
    """Juxtaposition is AND, OR binds tighter than AND, and a negation takes what is next to it."""
    assert parse_filter(text) == tree


@pytest.mark.parametrize("operator", Operator)
def test_text_is_compared_by_every_operator(operator: Operator) -> None:
    """Text takes all seven operators, with or without blanks around them."""
    assert parse_filter(f"name{operator}ada") == comparison("name", operator, "ada")
    assert parse_filter(f"name {operator} ada") == comparison("name", operator, "ada")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("a.b+c@d.co", "a.b+c@d.co"),
        ("0b9f1c9e-0000-4000-8000-00000000000a", "0b9f1c9e-0000-4000-8000-00000000000a"),
        ("-5", "-5"),
        ("ANDROID", "ANDROID"),
        ("ORwell", "ORwell"),
        ("NOTE", "NOTE"),
        ("and", "and"),
        ("Zoë", "Zoë"),
        ("😀", "😀"),
        ("50%_[x]?", "50%_[x]?"),
        (r"back\slash", r"back\slash"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ('""', ""),
        ("''", ""),
        ('"AND"', "AND"),
        ('"two words"', "two words"),
        ('"(a,b)=<c>!:"', "(a,b)=<c>!:"),
        ('"it\'s"', "it's"),
        ("'say \"hi\"'", 'say "hi"'),
        (r'"\"\'\\\*"', "\"'\\*"),
        (r"'\"\'\\\*'", "\"'\\*"),
        ("ada*", Pattern(("ada", ""))),
        ("*ada", Pattern(("", "ada"))),
        ("a*d*a", Pattern(("a", "d", "a"))),
        ("a***a", Pattern(("a", "a"))),
        ("*", ANYTHING),
        ("***", ANYTHING),
        (r'"\**\*"', Pattern(("*", "*"))),
        (r"\*", Pattern(("\\", ""))),
    ],
)
def test_a_value_is_read_as_it_is_written(argument: str, value: Value) -> None:
    """Unquoted text ends at a blank or an operator; escapes are for quotes; stars are wildcards."""
    assert parse_filter(f"name={argument}") == comparison("name", "=", value)
    assert parse_filter(f"(name = {argument} )") == comparison("name", "=", value)


@pytest.mark.parametrize("field", Field)
@pytest.mark.parametrize("star", ["*", "**", '"*"'])
def test_every_field_can_be_asked_for_presence(field: Field, star: str) -> None:
    """A lone star after a colon asks whether the field is not empty."""
    assert parse_filter(f"{field}:{star}") == Comparison(field, Operator.HAS, ANYTHING)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("Ada@Example.COM", "ada@example.com"),
        ("ADA*", Pattern(("ada", ""))),
        ("\u212aÉ", "\u212aÉ"),
    ],
)
def test_an_email_is_folded_to_lower_case_ascii(argument: str, value: Value) -> None:
    """Emails compare without regard to case, which is that of ASCII."""
    assert parse_filter(f"email={argument}") == comparison("email", "=", value)


@pytest.mark.parametrize("field", ["id", "name", "avatar"])
def test_other_text_keeps_its_case(field: str) -> None:
    """Only emails are folded."""
    assert parse_filter(f"{field}=ADA") == comparison(field, "=", "ADA")


@pytest.mark.parametrize("operator", ["=", "!=", ":"])
@pytest.mark.parametrize(
    ("name", "number"), [("UNSPECIFIED", 0), ("USER", 1), ("ADMIN", 2), ("MODERATOR", 3)]
)
@pytest.mark.parametrize("form", ["{}", "ROLE_{}", '"{}"', "'ROLE_{}'"])
def test_a_role_has_its_name_in_the_contract(
    operator: str, name: str, number: int, form: str
) -> None:
    """A role is named as in the enum, with or without prefix and quotes."""
    text = f"role{operator}{form.format(name)}"
    assert parse_filter(text) == comparison("role", operator, number)


@pytest.mark.parametrize("operator", ["=", "!=", "<", "<=", ">", ">="])
@pytest.mark.parametrize("field", sorted(TIME_FIELDS))
def test_a_time_is_compared_by_equality_and_order(operator: str, field: Field) -> None:
    """Times take every operator but the colon."""
    text = f"{field}{operator}2024-01-01T00:00:00Z"
    assert parse_filter(text) == comparison(field, operator, NEW_YEAR_2024)


@pytest.mark.parametrize("form", ["{}", '"{}"', "'{}'"])
@pytest.mark.parametrize(
    ("argument", "nanoseconds"),
    [
        ("2024-01-01T00:00:00Z", NEW_YEAR_2024),
        ("2024-01-01t00:00:00z", NEW_YEAR_2024),
        ("2024-01-01T02:30:00+02:30", NEW_YEAR_2024),
        ("2023-12-31T23:00:00-01:00", NEW_YEAR_2024),
        ("2024-01-01T00:00:00-00:00", NEW_YEAR_2024),
        ("2024-01-01T00:00:00.5Z", NEW_YEAR_2024 + BILLION // 2),
        ("2024-01-01T00:00:00.000000001Z", NEW_YEAR_2024 + 1),
        ("2024-01-01T00:00:00.123456789+00:00", NEW_YEAR_2024 + 123_456_789),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("0001-01-01T00:00:00+14:00", (-62_135_596_800 - 14 * 3600) * BILLION),
        ("9999-12-31T23:59:59.999999999-23:59", (253_402_300_799 + 86_340) * BILLION + 999_999_999),
    ],
)
def test_a_time_is_exact_to_the_nanosecond(form: str, argument: str, nanoseconds: int) -> None:
    """An RFC 3339 time, its colons unquoted or quoted, is nanoseconds since the epoch."""
    text = f"created_at>{form.format(argument)}"
    assert parse_filter(text) == comparison("created_at", ">", nanoseconds)


@pytest.mark.parametrize(
    "argument",
    [
        "2024-01-01",
        "2024-01-01T00:00:00",
        "2024-01-01T00:00Z",
        "'2024-01-01 00:00:00Z'",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:60:00Z",
        "2016-12-31T23:59:60Z",
        "2024-02-30T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00+01:60",
        "2024-01-01T00:00:00+0100",
        "2024-01-01T00:00:00.Z",
        "'2024-01-01T00:00:00,5Z'",
        "'\uff12024-01-01T00:00:00Z'",
        "2024-01-01T*",
        "1704067200",
        "now",
        "''",
        "*",
    ],
)
def test_what_is_no_time_is_refused_with_an_example(argument: str) -> None:
    """Times are RFC 3339's, with a zone, and of the calendar; the error shows one."""
    error = fault(f"created_at>{argument}")
    assert error.position == len("created_at>") + 1
    assert "is no RFC 3339 time; one is like 2024-01-31T12:00:00Z" in error.reason


def test_a_time_finer_than_nanoseconds_is_refused() -> None:
    """A tenth digit after the point is an error, not cut off."""
    error = fault("created_at=2024-01-01T00:00:00.1234567890Z")
    assert str(error) == "at character 12: a time has at most 9 digits after the point"


FIELDS = "the fields are id, email, name, avatar, role, created_at, updated_at"


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("ada", 1, "'ada' stands alone; name a field, as in name:ada"),
        (
            "name=ada lovelace",
            10,
            "'lovelace' stands alone; name a field, as in name:ada, and quote blanks",
        ),
        ('name=ada OR "x" role=ADMIN', 13, "'\"x\"' stands alone"),
        ("name", 1, "'name' stands alone"),
        ("password=x", 1, f"'password' is no field; {FIELDS}"),
        ("role=ADMIN Name=x", 12, f"'Name' is no field; {FIELDS}"),
        ("name.first=x", 1, f"'name.first' is no field; {FIELDS}, and none has members"),
        ("AND=1", 1, "'AND' is no field"),
        ("name(x)", 1, "'name(' would call a function, and filters have none"),
        ("name=ada f()", 10, "'f(' would call a function"),
        ("name=lower(x)", 6, "'lower(' would call a function"),
        ("role=(ADMIN OR USER)", 6, "compared with one value at a time: (role=ADMIN OR role=USER)"),
        ("name=", 6, "expected a value, found the end"),
        ("name==ada", 6, "expected a value, found '='"),
        ("name<>ada", 6, "expected a value, found '>'"),
        ("name=)", 6, "expected a value, found ')'"),
        ("name= AND role=ADMIN", 7, "found the keyword AND; to mean the word, quote it"),
        ("name=NOT", 6, "found the keyword NOT"),
        ("name!ada", 5, "expected one of = != < <= > >= : after the field, found '!'"),
        ("name,role", 5, "after the field, found ','"),
        ("AND name=ada", 1, "expected a comparison such as name:ada, found the keyword AND"),
        ("name=ada AND", 13, "expected a comparison such as name:ada, found the end"),
        ("name=ada AND AND role=ADMIN", 14, "found the keyword AND"),
        ("name=ada OR", 12, "found the end"),
        ("NOT", 4, "found the end"),
        ("NOT NOT name=ada", 5, "found the keyword NOT"),
        ("--name=ada", 2, "found '-name'"),
        ("=ada", 1, "expected a comparison such as name:ada, found '='"),
        ("()", 2, "expected a comparison such as name:ada, found ')'"),
        ("(name=ada", 10, "a parenthesis is not closed"),
        ("name=ada)", 9, "this parenthesis closes none"),
        ("(name=ada))", 11, "this parenthesis closes none"),
        ("avatar=http://x", 12, "found ':'; quote a value that contains it"),
        ("name=ada, role=ADMIN", 9, "expected AND, OR or another comparison, found ','"),
        ('name="ada', 6, 'the quote " is not closed'),
        ("name=O'Brien", 7, "the quote ' is not closed"),
        (r'name="ada\"', 6, 'the quote " is not closed'),
        (r'name="a\nb"', 8, r"\n is no escape; there are \" \' \\ and \*"),
        ("name='a\\\u200bb'", 8, "this is no escape"),
        ("name<a*", 6, r"< takes no wildcard; for the character * itself, write \* in quotes"),
        ("email>='a*'", 8, ">= takes no wildcard"),
        ("role=admin", 6, "'admin' is no role; the roles are UNSPECIFIED, USER, ADMIN, MODERATOR"),
        ("role=2", 6, "'2' is no role"),
        ("role=ADM*", 6, "'ADM*' is no role"),
        ("role=ROLE_ROLE_USER", 6, "'ROLE_ROLE_USER' is no role"),
        ("role>=USER", 5, "role cannot be compared by >=, only by = != :"),
        (
            "created_at:2024-01-01T00:00:00Z",
            11,
            "created_at cannot be compared by :, only by = != < <= > >=, or by :* for not",
        ),
        ("name=a\0", 7, "U+0000 may not stand in a filter"),
        ("name='a\x7f'", 8, "U+007F may not stand in a filter"),
        ("name='a\ud800'", 8, "U+D800 may not stand in a filter"),
        ("name='a\tb'", 8, "U+0009 may not stand in quotes"),
        ("name='a\nb'", 8, "U+000A may not stand in quotes"),
    ],
)
def test_an_error_says_what_is_wrong_and_where(text: str, position: int, reason: str) -> None:
    """The position counts characters from 1, and is where the fault begins."""
    error = fault(text)
    assert error.position == position
    assert reason in error.reason
    assert str(error) == f"at character {position}: {error.reason}"


@pytest.mark.parametrize("operator", ["<", "<=", ">", ">="])
def test_roles_have_no_order(operator: str) -> None:
    """The numbers of roles mean nothing, so they are not compared."""
    assert fault(f"role{operator}ADMIN").position == len("role") + 1


@pytest.mark.parametrize(
    "text",
    ["x" * 2_000, "name=(" + "y" * 999, "role=" + "z" * 99, "created_at=" + "w" * 99, "'" * 1_999],
)
def test_an_error_shows_no_more_than_40_characters_of_the_filter(text: str) -> None:
    """Messages go to logs and headers, so they stay short."""
    reason = fault(text).reason
    assert all(character * 41 not in reason for character in set(text))
    assert len(reason) < 200


def test_length_is_limited() -> None:
    """A filter has at most 2,000 characters."""
    assert parse_filter("name=" + "x" * (MAX_CHARACTERS - 5)) is not None
    error = fault("name=" + "x" * (MAX_CHARACTERS - 4))
    assert str(error) == (
        "at character 2001: a filter has at most 2000 characters, this one has 2001"
    )


@pytest.mark.parametrize(
    ("opening", "closing", "levels"),
    [("(", ")", 1), ("NOT (", ")", 2), ("-(", ")", 2), ("(name=a OR ", ")", 1)],
)
def test_depth_is_limited(opening: str, closing: str, levels: int) -> None:
    """Parentheses and negations nest at most 20 deep together."""
    deepest = MAX_DEPTH // levels
    assert parse_filter(opening * deepest + "name=ada" + closing * deepest) is not None
    error = fault(opening * (deepest + 1) + "name=ada" + closing * (deepest + 1))
    assert error.reason == "parentheses and NOT nest at most 20 deep"
    assert len(opening) * deepest < error.position <= len(opening) * (deepest + 1)


def test_a_last_negation_counts_as_a_level() -> None:
    """NOT below 20 parentheses is the 21st level."""
    assert fault("(" * 20 + "NOT name=ada" + ")" * 20).position == 21


def test_depth_is_not_the_number_of_parentheses() -> None:
    """What is closed again no longer counts."""
    tree = parse_filter(" ".join(["-(name=ada)"] * 50))
    assert tree == And((Not(ADA),) * 50)


@pytest.mark.parametrize("joint", [" ", " AND ", " OR "])
def test_the_number_of_comparisons_is_limited(joint: str) -> None:
    """A filter has at most 100 comparisons; the error points at the first one too many."""
    assert parse_filter(joint.join(["id:1"] * MAX_COMPARISONS)) is not None
    error = fault(joint.join(["id:1"] * (MAX_COMPARISONS + 1)))
    assert error.reason == "a filter has at most 100 comparisons"
    assert error.position == len("id:1" + joint) * MAX_COMPARISONS + len("id:")


@pytest.mark.parametrize(
    "text",
    [
        "(" * MAX_CHARACTERS,
        "-(" * (MAX_CHARACTERS // 2),
        "(id:1 " * (MAX_CHARACTERS // 6),
        "id:1 " * (MAX_CHARACTERS // 5),
        "a " * (MAX_CHARACTERS // 2),
        "name='" + "\\" * (MAX_CHARACTERS - 6),
        "name='" + "*a" * (MAX_CHARACTERS // 2 - 4) + "'",
        "name=" + "x" * (MAX_CHARACTERS - 6) + "(",
        ("(" * 20 + "id:1" + ")" * 20) * 45,
        " " * (MAX_CHARACTERS - 1) + "!",
    ],
)
def test_hostile_text_is_read_or_refused_in_milliseconds(text: str) -> None:
    """No text of legal length holds up the event loop; most take a tenth of the bound here."""
    parse_filter("name=ada")  # builds the parser
    times_s = []
    for _ in range(3):
        start_s = time.perf_counter()
        with contextlib.suppress(FilterError):
            parse_filter(text)
        times_s.append(time.perf_counter() - start_s)
    assert min(times_s) < 0.1


PIECES = st.sampled_from(
    [
        *Field,
        *Operator,
        *"()\"'\\*-,. \t!",
        *("AND", "OR", "NOT", "ADMIN", "ROLE_", "password", "2024-01-01T00:00:00Z", "\0", "\ud800"),
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=25).map("".join)))
@example("name=" + "(" * 3_000)
def test_any_text_is_a_filter_or_a_filter_error(text: str) -> None:
    """Whatever a caller sends, it is read or refused; an error points into the text."""
    try:
        parse_filter(text)
    except FilterError as error:
        position = error.position
    else:
        position = 1
    assert 1 <= position <= len(text) + 1


def written(tree: Expression) -> str:
    """Write a tree as a filter that has it as its meaning."""
    match tree:
        case And(terms):
            return "(" + " AND ".join(map(written, terms)) + ")"
        case Or(terms):
            return "(" + " OR ".join(map(written, terms)) + ")"
        case Not(term):
            return "(NOT " + written(term) + ")"
        case Comparison(field, operator, Pattern(parts)):
            return f"{field} {operator} '{'*'.join(map(escaped, parts))}'"
        case Comparison(field, operator, value):
            return f"{field} {operator} '{escaped(str(value))}'"


def escaped(text: str) -> str:
    """Escape what has a meaning in single quotes."""
    return "".join(f"\\{character}" if character in "\\'*" else character for character in text)


TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=6)
PATTERNS = st.tuples(TEXTS, st.lists(TEXTS.filter(bool), max_size=2), TEXTS).map(
    lambda parts: Pattern((parts[0], *parts[1], parts[2]))
)
COMPARISONS = st.builds(
    Comparison,
    st.sampled_from([Field.ID, Field.NAME, Field.AVATAR]),
    st.sampled_from([Operator.EQ, Operator.NE, Operator.HAS]),
    st.one_of(TEXTS, PATTERNS),
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


@settings(max_examples=100, deadline=None)
@given(TREES)
def test_a_tree_that_is_written_is_read_back(tree: Expression) -> None:
    """Quoting and parentheses can say every tree."""
    assert parse_filter(written(tree)) == tree
