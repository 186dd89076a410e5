"""Tokens are signed, bound to their request, and of one kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from userservice.users.tokens import PageToken, TokenError, Tokens

KEY = b"k" * 32
UUID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"


@given(st.lists(st.text() | st.integers()), st.integers(0), st.text(), st.text())
def test_a_page_token_says_what_it_was_given(
    after: list[str | int], total: int, filter_text: str, order_text: str
) -> None:
    """Sort key and total come back, also from a server that was started anew with the key."""
    text = Tokens(KEY).page(PageToken(after, total), filter_text, order_text)
    assert Tokens(KEY).read_page(text, filter_text, order_text) == PageToken(after, total)


@given(st.integers(0, 99), st.characters(codec="ascii"))
def test_a_tampered_token_is_refused(position: int, character: str) -> None:
    """Any changed character is noticed."""
    tokens = Tokens(KEY)
    text = tokens.page(PageToken(["x", 1], 5), "", "")
    position %= len(text)
    tampered = text[:position] + character + text[position + 1 :]
    if tampered != text:
        with pytest.raises(TokenError):
            tokens.read_page(tampered, "", "")


def test_another_spelling_of_a_token_is_refused() -> None:
    """Python reads ``+`` like ``-``, and does not look at the last bits."""
    tokens = Tokens(KEY)
    texts = [tokens.resume(f"user {number}", number) for number in range(50)]
    spelled = [text.replace("-", "+").replace("_", "/") for text in texts]
    assert any(one != other for one, other in zip(texts, spelled, strict=True))
    last_bits = [text[:-1] + chr(ord(text[-1]) + 1) for text in texts]
    for number, text in enumerate([*spelled, *last_bits]):
        if text not in texts:
            with pytest.raises(TokenError):
                tokens.read_resume(text, f"user {number % 50}")


@pytest.mark.parametrize("text", ["x", "a.b", "MA==", "\x00", "é", "." * 10_000, "1" * 100_000])
def test_what_is_no_token_is_refused(text: str) -> None:
    """Garbage of any size is an error, and nothing else."""
    with pytest.raises(TokenError):
        Tokens(KEY).read_page(text, "", "")
    with pytest.raises(TokenError):
        Tokens(KEY).read_resume(text, UUID)


def test_a_page_token_is_bound_to_filter_and_order() -> None:
    """Another filter or order is another list."""
    tokens = Tokens(KEY)
    text = tokens.page(PageToken(["x"], 5), "role=ADMIN", "name")
    for filter_text, order_text in (
        ("role=USER", "name"),
        ("role=ADMIN", ""),
        ("role=ADMINname", ""),
    ):
        with pytest.raises(TokenError, match="another filter or order"):
            tokens.read_page(text, filter_text, order_text)


def test_a_token_is_good_for_one_purpose_key_and_user() -> None:
    """A resume token is no page token, not another server's, and not another user's."""
    tokens = Tokens(KEY)
    resume = tokens.resume(UUID, 7)
    assert tokens.read_resume(resume, UUID) == 7
    with pytest.raises(TokenError):
        tokens.read_page(resume, "", "")
    with pytest.raises(TokenError):
        Tokens(b"other").read_resume(resume, UUID)
    with pytest.raises(TokenError, match="another user"):
        tokens.read_resume(resume, "other")
