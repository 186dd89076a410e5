"""The rules of each field. A rule returns the value to keep, or raises RuleError.

``Checks`` applies many of them and reports every violation at once.
"""

import re
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from userservice.users.errors import InvalidRequestError, Violation
from userservice.users.model import Role

V = TypeVar("V")
R = TypeVar("R")

EMAIL_MAX = 254
NAME_MAX = 200
AVATAR_MAX = 2_048
PASSWORD_MIN = 8
PASSWORD_MAX = 1_024
PAGE_DEFAULT = 20
PAGE_MAX = 1_000
SENDER_MAX = 254
CHAT_TEXT_MAX = 4_000

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)

# RFC 5321 section 4.1.2, Mailbox, without quoted strings and address literals:
# nobody means those by an email today.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(rf"(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")

# RFC 3986 appendix A: the characters of a URI.
_URL = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")

# Controls and line separators; and the embeddings, overrides and isolates that make
# a name read as another one (Unicode TR 36 section 2.7). The plain marks that
# right-to-left names need stay.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class RuleError(ValueError):
    """A value breaks a rule; the text says which, and what would be right."""


class Checks:
    """Applies rules to the fields of one request, and remembers every violation."""

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def check(self, field: str, rule: Callable[[V], R], value: V) -> R | None:
        """Return what the rule returns, or None where the value breaks it."""
        try:
            return rule(value)
        except ValueError as broken:
            self.refuse(field, str(broken))
            return None

    def refuse(self, field: str, description: str) -> None:
        """Note a violation."""
        self._violations.append(Violation(field, description))

    def done(self) -> None:
        """Raise InvalidRequestError with all violations, if there are any."""
        if self._violations:
            raise InvalidRequestError(self._violations)


def user_id(value: str) -> str:
    """A user's id is a UUID in its usual form (RFC 9562); upper case is the same id."""
    if not value:
        raise RuleError("is required: the user's UUID")
    if not _UUID.fullmatch(value):
        raise RuleError("must be a UUID like 1b4e28ba-2fa1-41d2-883f-0016d3cca427")
    return value.lower()


def email(value: str) -> str:
    """An email is required: one ASCII address of at most 254 characters, kept as given."""
    if not value:
        raise RuleError("is required")
    if len(value) > EMAIL_MAX:
        raise RuleError(f"must have at most {EMAIL_MAX} characters, has {len(value)}")
    if not value.isascii():
        raise RuleError("must be ASCII")
    if not _EMAIL.fullmatch(value):
        raise RuleError("must be one address like ann@example.com")
    return value


def email_key(value: str) -> str:
    """Emails that differ only in case have the same key."""
    return value.lower()


def name(value: str) -> str:
    """A name is required: 1 to 200 characters after trimming, none of them a control."""
    trimmed = _printable(value).strip()
    if not trimmed:
        raise RuleError("is required")
    if len(trimmed) > NAME_MAX:
        raise RuleError(f"must have at most {NAME_MAX} characters, has {len(trimmed)}")
    return trimmed


def avatar(value: str) -> str:
    """An avatar is empty, or an ASCII http(s) URL of at most 2,048 characters."""
    if not value:
        return value
    if len(value) > AVATAR_MAX:
        raise RuleError(f"must have at most {AVATAR_MAX:,} characters, has {len(value)}")
    if not _is_http_url(value):
        raise RuleError("must be empty or an ASCII URL like https://example.com/ann.png")
    return value


def password(value: str) -> str:
    """A password is empty for none, or has 8 to 1,024 characters; it never shows in errors."""
    if value and not PASSWORD_MIN <= len(value) <= PASSWORD_MAX:
        raise RuleError(f"must have {PASSWORD_MIN} to {PASSWORD_MAX:,} characters")
    return value


def given_password(value: str) -> str:
    """A password that is to be verified is there; whether it could be one is not said."""
    if len(value) > PASSWORD_MAX:
        raise RuleError(f"must have at most {PASSWORD_MAX:,} characters")
    return required(value)


def required(value: str) -> str:
    """Some text is required."""
    if not value:
        raise RuleError("is required")
    return value


def role(value: int) -> Role:
    """A role is one of the contract's; unspecified means an ordinary user."""
    if value == 0:
        return Role.USER
    try:
        return Role(value)
    except ValueError:
        known = ", ".join(f"{item.value} ({item.name})" for item in Role)
        raise RuleError(f"must be one of {known}, not {int(value)}") from None


def page_size(value: int) -> int:
    """0 means 20, more than 1,000 means 1,000, and a negative size is refused (AIP-158)."""
    if value < 0:
        raise RuleError(f"must not be negative, is {value}")
    return min(value or PAGE_DEFAULT, PAGE_MAX)


def sender_id(value: str) -> str:
    """Whoever chats says who it is, in at most 254 characters."""
    if not value.strip():
        raise RuleError("is required")
    if len(value) > SENDER_MAX:
        raise RuleError(f"must have at most {SENDER_MAX} characters, has {len(value)}")
    return _printable(value)


def chat_text(value: str) -> str:
    """What is said has 1 to 4,000 characters."""
    if not value:
        raise RuleError("is required")
    if len(value) > CHAT_TEXT_MAX:
        raise RuleError(f"must have at most {CHAT_TEXT_MAX:,} characters, has {len(value)}")
    return value


def _printable(value: str) -> str:
    if found := _UNPRINTABLE.search(value):
        raise RuleError(
            "must have no control or bidirectional-override characters: "
            f"U+{ord(found[0]):04X} at {found.start() + 1}"
        )
    return value


def _is_http_url(value: str) -> bool:
    if not _URL.fullmatch(value):
        return False
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises ValueError where it is no port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
