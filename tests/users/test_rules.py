"""The rules of each field, and that every violation of a request is told at once."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from userservice.users import rules
from userservice.users.errors import InvalidRequestError
from userservice.users.model import Role

UUID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"

ATOM = string.ascii_letters + string.digits + "!#$%&'*+/=?^_`{|}~-"
LABEL_ENDS = string.ascii_letters + string.digits
atoms = st.text(ATOM, min_size=1, max_size=10)
labels = st.builds(
    lambda first, middle, last: first + middle + last,
    st.sampled_from(LABEL_ENDS),
    st.text(LABEL_ENDS + "-", max_size=10),
    st.sampled_from(LABEL_ENDS),
)
emails = st.builds(
    lambda local, domain: ".".join(local) + "@" + ".".join(domain),
    st.lists(atoms, min_size=1, max_size=4),
    st.lists(labels, min_size=1, max_size=4),
)


@given(emails)
def test_an_address_is_kept_as_given(email: str) -> None:
    """Any dot-atom address (RFC 5321) is an email, and comes back unchanged."""
    assert rules.email(email) == email


@given(st.text())
def test_any_text_is_an_email_or_refused(text: str) -> None:
    """What passes is ASCII, at most 254 characters, with one @ and no blank or control."""
    try:
        email = rules.email(text)
    except rules.RuleError:
        return
    assert email == text
    assert email.isascii()
    assert len(email) <= 254
    assert email.count("@") == 1
    assert not any(character.isspace() or ord(character) < 0x21 for character in email)


@given(emails)
def test_case_makes_no_other_email(email: str) -> None:
    """Emails that differ only in case have one key."""
    assert rules.email_key(email.upper()) == rules.email_key(email.lower())


@pytest.mark.parametrize(
    "email",
    [
        "a@b.co",
        "a@b",
        "user@localhost",
        "A.B+tag@Example.COM",
        "o'hara@example.com",
        "x" * 64 + "@example.com",
    ],
)
def test_usual_and_unusual_addresses_are_emails(email: str) -> None:
    """Real addresses of all sorts pass."""
    assert rules.email(email) == email


@pytest.mark.parametrize(
    "email",
    [
        "",
        " ",
        "ann",
        "@example.com",
        "ann@",
        "ann@@example.com",
        "ann@example..com",
        ".ann@example.com",
        "ann.@example.com",
        "a..n@example.com",
        "ann@-example.com",
        "ann@example-.com",
        "ann@example.com.",
        " ann@example.com",
        "ann@example.com ",
        "ann@example.com\n",
        "ann@exa mple.com",
        "ann@example.com,bob@example.com",
        "Ann <ann@example.com>",
        "mailto:ann@example.com",
        "ann\x00@example.com",
        "änn@example.com",
        "ann@exämple.com",
        "ann@[127.0.0.1]",
        '"ann"@example.com',
        "x" * 65 + "@example.com",
        "ann@" + "x" * 64 + ".com",
        "a@" + ".".join(["x" * 60] * 5),
    ],
)
def test_what_is_not_one_ascii_address_is_refused(email: str) -> None:
    """Two addresses, display names, quotes, literals, blanks and other scripts are refused."""
    with pytest.raises(rules.RuleError):
        rules.email(email)


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("Ann", "Ann"),
        ("  Ann  Lee ", "Ann  Lee"),
        ("\u3000Ann\u00a0", "Ann"),
        ("x" * 200, "x" * 200),
        (" " + "x" * 200 + " ", "x" * 200),
        ("\U0001f600", "\U0001f600"),
        ("\u0627\u0644\u0627\u0633\u0645\u200f", "\u0627\u0644\u0627\u0633\u0645\u200f"),
        ("'; DROP TABLE users; --", "'; DROP TABLE users; --"),
    ],
)
def test_a_name_is_trimmed_and_kept(given_name: str, kept: str) -> None:
    """1 to 200 characters of any script, counted after trimming."""
    assert rules.name(given_name) == kept


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        "x" * 201,
        "a\x00b",
        "Ann\n",
        "a\tb",
        "a\x7fb",
        "a\x85b",
        "a\x1b[31mb",
        "a\u202eb",
        "a\u2066b",
        "a\u2028b",
    ],
)
def test_a_name_with_nothing_or_controls_is_refused(name: str) -> None:
    """Empty, too long, control characters and bidirectional overrides are refused."""
    with pytest.raises(rules.RuleError):
        rules.name(name)


@pytest.mark.parametrize(
    "avatar",
    [
        "",
        "http://example.com",
        "https://example.com/a.png?size=2#x",
        "https://[::1]:8080/a",
        "HTTPS://example.com/%C3%A4",
        "https://example.com/" + "x" * 2028,
    ],
)
def test_an_avatar_is_empty_or_a_web_address(avatar: str) -> None:
    """An http(s) URL of up to 2,048 ASCII characters passes unchanged."""
    assert rules.avatar(avatar) == avatar


@pytest.mark.parametrize(
    "avatar",
    [
        " ",
        "example.com/a.png",
        "/a.png",
        "ftp://example.com/a.png",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "http://",
        "https:///a.png",
        "https://example.com:port/",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://example.com/\n",
        "https://example.com/<script>",
        "https://example.com/ä",
        "https://[::1/a",
        "https://example.com/" + "x" * 2029,
    ],
)
def test_another_avatar_is_refused(avatar: str) -> None:
    """Other schemes, no host, blanks, controls, other scripts and long ones are refused."""
    with pytest.raises(rules.RuleError):
        rules.avatar(avatar)


def test_a_password_is_optional_and_its_length_is_checked() -> None:
    """Empty means none; otherwise 8 to 1,024 characters; the error never shows it."""
    assert rules.password("") == ""
    assert rules.password("x" * 8) == "x" * 8
    assert rules.password("ß" * 1024) == "ß" * 1024
    for wrong in ("hunter2", "s3cret" * 1000):
        with pytest.raises(rules.RuleError) as refused:
            rules.password(wrong)
        assert wrong[:7] not in str(refused.value)


def test_an_unspecified_role_is_an_ordinary_user() -> None:
    """0 becomes USER, the contract's numbers are kept, and others are refused by name."""
    assert rules.role(0) is Role.USER
    assert [rules.role(number) for number in (1, 2, 3)] == list(Role)
    for wrong in (4, -1, 2**31 - 1):
        with pytest.raises(rules.RuleError, match="2 \\(ADMIN\\)"):
            rules.role(wrong)


def test_an_id_is_a_uuid_in_any_case() -> None:
    """The usual 36 characters, hexadecimal in any case."""
    assert rules.user_id(UUID) == UUID
    assert rules.user_id(UUID.upper()) == UUID


@pytest.mark.parametrize(
    "user_id",
    ["", "123", UUID + "\n", "{" + UUID + "}", "urn:uuid:" + UUID, UUID.replace("-", ""), "ß" * 36],
)
def test_another_id_is_refused(user_id: str) -> None:
    """Other spellings of a UUID are not ids."""
    with pytest.raises(rules.RuleError):
        rules.user_id(user_id)


def test_a_page_has_a_default_and_a_largest_size() -> None:
    """0 means 20, over 1,000 means 1,000, negative is refused (AIP-158)."""
    assert [rules.page_size(size) for size in (0, 1, 1000, 1001, 2**31 - 1)] == [
        20,
        1,
        1000,
        1000,
        1000,
    ]
    with pytest.raises(rules.RuleError):
        rules.page_size(-1)


def test_every_violation_is_told_at_once() -> None:
    """A request with three faults gets one error with three violations, by field."""
    checks = rules.Checks()
    checks.check("email", rules.email, "")
    checks.check("name", rules.name, "Ann")
    checks.check("role", rules.role, 9)
    checks.refuse("update_mask", "is wrong")
    with pytest.raises(InvalidRequestError) as invalid:
        checks.done()
    assert [v.field for v in invalid.value.violations] == ["email", "role", "update_mask"]
