"""Signed tokens: what is issued is verified, and nothing else is."""

import base64
import hashlib
import json
import time
from typing import Any

import jwt
import pytest
from joserfc import jwk as other_jwk
from joserfc import jwt as other_jwt

from userservice.rpc.jwt import (
    HS256,
    TOKEN_MAX,
    JwtError,
    JwtExpiredError,
    JwtIssuer,
    JwtVerifier,
    Keys,
    UnknownJwtKeyError,
    VerifyingKey,
)

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
ISSUER, AUDIENCE = "https://issuer.example", "users"


def issuer(key: bytes = KEY, kid: str = "one", lifetime_s: float = 60) -> JwtIssuer:
    """An issuer of tokens."""
    return JwtIssuer(key, issuer=ISSUER, audience=AUDIENCE, lifetime_s=lifetime_s, kid=kid)


def verifier(*keys: VerifyingKey, **options: Any) -> JwtVerifier:
    """A verifier with these keys, or with the one of `issuer`."""
    known = Keys(keys or (VerifyingKey("one", HS256, KEY),))
    return JwtVerifier(known, issuer=ISSUER, audience=AUDIENCE, **options)


def part(value: Any) -> str:
    """A part of a token: JSON, or bytes as they are."""
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def claims(**changed: Any) -> dict[str, Any]:
    """What a good token says, with changes; None takes a claim away."""
    now = int(time.time())
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 60}
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def signed(headers: dict[str, Any] | None = None, key: bytes = KEY, **changed: Any) -> str:
    """A token of another library, by the key of `issuer`."""
    secret = other_jwk.OctKey.import_key(key)
    return other_jwt.encode(
        {"alg": HS256, "kid": "one", **(headers or {})}, claims(**changed), secret
    )


def test_what_is_issued_is_verified() -> None:
    """With all that it says."""
    token = issuer().issue("ann", role="admin")
    read = verifier().verify(token)
    assert (read["sub"], read["role"], read["iss"], read["aud"]) == (
        "ann",
        "admin",
        ISSUER,
        AUDIENCE,
    )
    assert read["exp"] - read["iat"] == 60


def test_another_library_reads_it_and_is_read() -> None:
    """With the same key."""
    key = other_jwk.OctKey.import_key(KEY)
    assert other_jwt.decode(issuer().issue("ann"), key).claims["sub"] == "ann"
    assert verifier().verify(signed())["sub"] == "ann"
    assert verifier().verify(signed(aud=["others", AUDIENCE]))["sub"] == "ann"


def test_claims_of_the_issuer_are_its_own() -> None:
    """Nobody gives a token another subject, or a longer life, by accident."""
    with pytest.raises(ValueError, match="issuer's"):
        issuer().issue("ann", exp=2**40)
    with pytest.raises(ValueError, match="32 bytes"):
        issuer(key=b"short")


def test_an_old_key_verifies_as_long_as_it_is_there() -> None:
    """Rotation: the new key signs, both verify; tokens of one that is gone are unknown."""
    old, new = issuer(KEY, "one").issue("ann"), issuer(OTHER_KEY, "two").issue("ann")
    both = verifier(VerifyingKey("two", HS256, OTHER_KEY), VerifyingKey("one", HS256, KEY))
    assert both.verify(old)["sub"] == both.verify(new)["sub"] == "ann"
    with pytest.raises(UnknownJwtKeyError):
        verifier(VerifyingKey("two", HS256, OTHER_KEY)).verify(old)


def test_a_key_that_is_gone_takes_its_tokens_with_it() -> None:
    """Also those that were verified before."""
    keys = Keys([VerifyingKey("one", HS256, KEY)])
    there = JwtVerifier(keys, issuer=ISSUER, audience=AUDIENCE)
    token = issuer().issue("ann")
    assert there.known(token) is None
    there.verify(token)
    assert there.known(token) is not None
    keys.at_hand = ()
    assert there.known(token) is None
    with pytest.raises(UnknownJwtKeyError):
        there.verify(token)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"exp": int(time.time()) - 31}, "expired"),
        ({"exp": None}, "claim"),
        ({"exp": "soon"}, "claim"),
        ({"exp": True}, "expired"),
        ({"exp": [1]}, "claim"),
        ({"exp": float("inf")}, "claim"),
        ({"exp": float("nan")}, "claim"),
        ({"nbf": int(time.time()) + 100}, "not valid yet"),
        ({"iat": int(time.time()) + 100}, "not valid yet"),
        ({"iat": {}}, "claim"),
        ({"aud": "others"}, "another audience"),
        ({"aud": None}, "claim"),
        ({"aud": [[AUDIENCE]]}, "audience"),
        ({"aud": {AUDIENCE: 1}}, "audience"),
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"iss": None}, "claim"),
        ({"iss": [ISSUER]}, "issuer"),
        ({"sub": None}, "claim"),
        ({"sub": 7}, "claim"),
    ],
    ids=str,
)
def test_what_it_says_must_be_right(changed: dict[str, Any], words: str) -> None:
    """Each claim that counts; even where the signature is good."""
    payload = part(claims(**changed))
    signing = f"{part({'alg': HS256, 'kid': 'one'})}.{payload}"
    signature = part(jwt.get_algorithm_by_name(HS256).sign(signing.encode(), KEY))
    with pytest.raises(JwtError, match=words) as refused:
        verifier().verify(f"{signing}.{signature}")
    assert isinstance(refused.value, JwtExpiredError) == (words == "expired")


def test_clocks_may_be_apart() -> None:
    """By the leeway, and no more."""
    just_over = signed(exp=int(time.time()) - 5)
    assert verifier().verify(just_over)
    with pytest.raises(JwtExpiredError):
        verifier(leeway_s=1).verify(just_over)
    assert verifier().verify(signed(nbf=int(time.time()) + 20))


def hostile() -> dict[str, str]:
    """Tokens of somebody who has no key, but imagination."""
    header, body = part({"alg": HS256, "kid": "one"}), part(claims())
    good = signed()
    unsigned = part({"alg": "none", "kid": "one"})
    return {
        "empty": "",
        "dots": "..",
        "more dots": "....",
        "two parts": f"{header}.{body}",
        "alg none": f"{unsigned}.{body}.",
        "alg None": f"{part({'alg': 'None', 'kid': 'one'})}.{body}.",
        "alg none, signed": f"{unsigned}.{body}.{good.rpartition('.')[2]}",
        "no alg": f"{part({'kid': 'one'})}.{body}.{part(b'0' * 32)}",
        "alg of another type": f"{part({'alg': [HS256], 'kid': 'one'})}.{body}.{part(b'0')}",
        "alg HS512": signed_with("HS512"),
        "wrong key": signed(key=OTHER_KEY),
        "no signature": f"{header}.{body}.",
        "cut short": good[:-3],
        "one character more": good + "A",
        "other body": f"{header}.{part(claims(sub='root'))}.{good.rpartition('.')[2]}",
        "not base64": f"{header}.{body}!.{good.rpartition('.')[2]}",
        "not JSON": f"{part(b'{')}.{body}.{part(b'0' * 32)}",
        "JSON of another type": f"{part([1, 2])}.{body}.{part(b'0' * 32)}",
        "not UTF-8": f"{part(bytes([255, 254]))}.{body}.{part(b'0' * 32)}",
        "nested deep": f"{part(b'[' * 5_000)}.{body}.{part(b'0' * 32)}",
        "kid of another type": f"{part({'alg': HS256, 'kid': {'a': 1}})}.{body}.{part(b'0')}",
        "kid of SQL": f"{part({'alg': HS256, 'kid': '1 OR 1=1 --'})}.{body}.{part(b'0')}",
        "kid of a path": f"{part({'alg': HS256, 'kid': '../../dev/null'})}.{body}.{part(b'0')}",
        "no kid": signed({"kid": ""}),
        "a key of its own": f"{part({'alg': HS256, 'jwk': {'kty': 'oct', 'k': 'AA'}})}.{body}.AA",
        "a URL of its own": f"{part({'alg': HS256, 'jku': 'http://evil.example'})}.{body}.AA",
        "critical": signed_with(HS256, {"crit": ["b64"], "b64": True, "x": 1}),
        "not ASCII": f"{header}.{body}.ü",
        "1 MiB": "A" * 2**20,
        "1 MiB of dots": "." * 2**20,
        "1 MiB, good": signed(padding="x" * 2**20),
        "a little too long": signed(padding="x" * TOKEN_MAX),
    }


def signed_with(algorithm: str, headers: dict[str, Any] | None = None) -> str:
    """A token that is signed by the right key, and in a way that it is not for."""
    signing = f"{part({'alg': algorithm, 'kid': 'one', **(headers or {})})}.{part(claims())}"
    digest = jwt.get_algorithm_by_name(algorithm).sign(signing.encode(), KEY.ljust(64, b"0"))
    return f"{signing}.{part(digest)}"


HOSTILE = hostile()


@pytest.mark.parametrize("token", HOSTILE.values(), ids=HOSTILE)
def test_hostile_tokens_are_refused(token: str) -> None:
    """At once, with words of ours: nothing of the token is repeated."""
    began = time.perf_counter()
    with pytest.raises(JwtError) as refused:
        verifier().verify(token)
    assert time.perf_counter() - began < 0.1
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    assert len(str(refused.value)) < 100
    assert not token[:20] or token[:20] not in str(refused.value)


def test_verified_tokens_are_remembered_until_they_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there is room for, those used last; by their hashes."""
    remembering = verifier(cached_max=2, leeway_s=0)
    first, second, third = (issuer().issue(name) for name in ("a", "b", "c"))
    for token in (first, second, first, third):
        remembering.verify(token)
    assert remembering.known(first) is not None
    assert remembering.known(second) is None
    assert remembering.known(third) is not None
    names = set(remembering._cached)
    assert names == {hashlib.sha256(token.encode()).digest() for token in (first, third)}
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    assert remembering.known(first) is None
    assert set(remembering._cached) == {hashlib.sha256(third.encode()).digest()}


def test_no_key_is_shown() -> None:
    """Nor a token, by what handles them."""
    token = issuer().issue("ann")
    shown = repr([VerifyingKey("one", HS256, KEY), issuer(), verifier()])
    assert repr(KEY) not in shown
    assert "x00" not in shown
    assert token not in shown
