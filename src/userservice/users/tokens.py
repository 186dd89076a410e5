"""Page and resume tokens: opaque to clients, signed, and good for one purpose only."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from itsdangerous import BadData, URLSafeSerializer


class TokenError(ValueError):
    """A token that this server did not give, or not for this request."""


@dataclass(frozen=True, slots=True)
class PageToken:
    """Where a page starts.

    Args:
        after: the sort key of the last user of the page before.
        total: how many users matched when the first page was asked for.
    """

    after: Sequence[str | int]
    total: int


class Tokens:
    """Signs and verifies tokens.

    Args:
        key: the signing key. It outlives the process, so that tokens do.
    """

    def __init__(self, key: bytes) -> None:
        signer = {"digest_method": hashlib.sha256}
        # The salt keeps a token of one kind from passing as one of the other.
        self._pages = URLSafeSerializer(key, salt="page", signer_kwargs=signer)
        self._resumes = URLSafeSerializer(key, salt="resume", signer_kwargs=signer)

    def page(self, token: PageToken, filter_text: str, order_text: str) -> str:
        """Return the text of a page token, bound to a filter and an order."""
        return _text(
            self._pages, [_fingerprint(filter_text, order_text), token.total, *token.after]
        )

    def read_page(self, text: str, filter_text: str, order_text: str) -> PageToken:
        """Return what a page token says.

        Raises:
            TokenError: it is not one of ours, or for another filter or order (AIP-158).
        """
        fingerprint, total, *after = _read(self._pages, text, "next_page_token of the last page")
        if fingerprint != _fingerprint(filter_text, order_text):
            raise TokenError("is for another filter or order: start again without it")
        return PageToken(after, total)

    def resume(self, user_id: str, revision: int) -> str:
        """Return the text of a resume token: this user, after this revision."""
        return _text(self._resumes, [user_id, revision])

    def read_resume(self, text: str, user_id: str) -> int:
        """Return the revision after which to resume.

        Raises:
            TokenError: it is not one of ours, or for another user.
        """
        token_user, revision = _read(self._resumes, text, "resume_token of an event")
        if token_user != user_id:
            raise TokenError("is for another user")
        return int(revision)


def _text(serializer: URLSafeSerializer, value: Any) -> str:
    text = serializer.dumps(value)
    return text if isinstance(text, str) else text.decode()


def _read(serializer: URLSafeSerializer, text: str, source: str) -> Any:
    value = None
    with suppress(BadData):
        value = serializer.loads(text)
    # Base64 has more than one spelling of the same bytes: only ours counts.
    if value is None or _text(serializer, value) != text:
        raise TokenError(f"is not valid: use the {source} as it came")
    return value


def _fingerprint(filter_text: str, order_text: str) -> str:
    # The lengths keep ("a", "b") and ("ab", "") apart.
    text = f"{len(filter_text)}:{filter_text}{order_text}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
