"""Orders of AIP-132: what they mean, and what is said of those that are wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from userservice.users.model import Field
from userservice.users.order import MAX_CHARACTERS, OrderError, OrderTerm, parse_order

ID = OrderTerm(Field.ID, descending=False)


def fault(text: str) -> str:
    """Return what is said of this order."""
    with pytest.raises(OrderError) as raised:
        parse_order(text)
    return str(raised.value)


@pytest.mark.parametrize("text", ["", "  ", "\t"])
def test_blank_text_is_the_order_of_creation(text: str) -> None:
    """Without an order, the oldest user comes first."""
    assert parse_order(text) == (OrderTerm(Field.CREATED_AT, descending=False), ID)


@pytest.mark.parametrize("field", [field for field in Field if field is not Field.ID])
@pytest.mark.parametrize(
    ("direction", "descending"), [("", False), (" asc", False), (" desc", True)]
)
def test_a_field_has_a_direction_and_the_id_breaks_ties(
    field: Field, direction: str, descending: bool
) -> None:
    """Ascending is the default, and the id is the last term, ascending."""
    assert parse_order(f"{field}{direction}") == (OrderTerm(field, descending), ID)


@pytest.mark.parametrize(
    "text", ["role desc,name", "role desc, name", "  role   desc ,\tname asc  ", "role\tdesc,name"]
)
def test_blanks_are_redundant(text: str) -> None:
    """AIP-132: redundant blanks are ignored."""
    assert parse_order(text) == (
        OrderTerm(Field.ROLE, descending=True),
        OrderTerm(Field.NAME, descending=False),
        ID,
    )


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("id", (ID,)),
        ("id desc", (OrderTerm(Field.ID, descending=True),)),
        ("id, name", (ID, OrderTerm(Field.NAME, descending=False))),
    ],
)
def test_a_given_id_is_not_added_again(text: str, order: tuple[OrderTerm, ...]) -> None:
    """One id breaks all ties, wherever it stands."""
    assert parse_order(text) == order


FIELDS = "the fields are id, email, name, avatar, role, created_at, updated_at"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("password", f"'password' is no field; {FIELDS}"),
        ("Name", f"'Name' is no field; {FIELDS}"),
        ("name.first", f"'name.first' is no field; {FIELDS}"),
        ("-name", f"'-name' is no field; {FIELDS}"),
        ("name;role", f"'name;role' is no field; {FIELDS}"),
        (",", f"there is no field beside a comma; {FIELDS}"),
        ("name,", f"there is no field beside a comma; {FIELDS}"),
        ("name,,role", f"there is no field beside a comma; {FIELDS}"),
        ("name DESC", "name is followed by 'DESC'; that can be asc, desc or a comma"),
        ("name desc desc", "name is followed by 'desc desc'; that can be asc, desc or a comma"),
        ("name role", "name is followed by 'role'; that can be asc, desc or a comma"),
        ("desc", f"'desc' is no field; {FIELDS}"),
        ("name, name desc", "name is there twice; an order has each field once"),
        ("id, id", "id is there twice; an order has each field once"),
        ("x" * 100, f"'{'x' * 37}...' is no field; {FIELDS}"),
    ],
)
def test_an_error_names_the_fault(text: str, message: str) -> None:
    """What is wrong is shown, cut to 40 characters, with what would be right."""
    assert fault(text) == message


def test_length_is_limited() -> None:
    """An order has at most 500 characters."""
    assert parse_order("name".ljust(MAX_CHARACTERS))
    assert fault("name".ljust(MAX_CHARACTERS + 1)) == (
        "an order has at most 500 characters, this one has 501"
    )


PIECES = st.sampled_from([*Field, " asc", " desc", ",", " ", "\0", "\ud800", "é"])


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=12).map("".join)))
def test_any_text_is_a_total_order_or_an_order_error(text: str) -> None:
    """Whatever a caller sends, it is refused, or an order with each field once and the id."""
    try:
        fields = [term.field for term in parse_order(text)]
    except OrderError:
        return
    assert Field.ID in fields
    assert len(fields) == len(set(fields))
