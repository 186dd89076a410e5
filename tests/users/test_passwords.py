"""Passwords are kept as scrypt hashes, made beside the event loop."""

import asyncio
import base64
import hashlib
import time
from typing import Any

import pytest

from userservice.users.passwords import PasswordHasher


async def test_a_hash_can_be_verified_and_does_not_hold_the_password() -> None:
    """The text has the parameters and the salt: scrypt with them gives the key again."""
    hasher = PasswordHasher()
    text = await hasher.hash("correct horse ß")
    hasher.close()
    kind, n, r, p, salt, key = text.split("$")
    again = hashlib.scrypt(
        "correct horse ß".encode(),
        salt=base64.b64decode(salt),
        n=int(n),
        r=int(r),
        p=int(p),
        maxmem=2**26,
        dklen=32,
    )
    assert (kind, base64.b64encode(again).decode()) == ("scrypt", key)
    assert int(n) * int(p) >= 2**14 * 5
    assert "horse" not in text


async def test_equal_passwords_have_different_hashes() -> None:
    """Each hash has a salt of its own."""
    hasher = PasswordHasher()
    one, two = await asyncio.gather(hasher.hash("same password"), hasher.hash("same password"))
    hasher.close()
    assert one != two


async def test_the_event_loop_runs_while_passwords_are_hashed() -> None:
    """Ten hashes take seconds of processor time; the loop does not wait for them."""
    hasher = PasswordHasher()
    hashing = asyncio.gather(*(hasher.hash(f"password {number}") for number in range(10)))
    slowest = 0.0
    while not hashing.done():
        started = time.perf_counter()
        await asyncio.sleep(0.001)
        slowest = max(slowest, time.perf_counter() - started)
    await hashing
    hasher.close()
    assert slowest < 0.25


async def test_a_password_is_verified() -> None:
    """By its hash, with the parameters that it was made with, also older ones."""
    hasher = PasswordHasher()
    text = await hasher.hash("correct horse ß")
    assert await hasher.verify("correct horse ß", text)
    assert not await hasher.verify("correct horse s", text)
    key = hashlib.scrypt(b"old", salt=b"salt", n=2, r=1, p=1, dklen=32)
    older = f"scrypt$2$1$1${base64.b64encode(b'salt').decode()}${base64.b64encode(key).decode()}"
    assert await hasher.verify("old", older)
    hasher.close()


async def test_where_there_is_no_hash_as_much_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """One scrypt with the same parameters, and no password is right."""
    made: list[dict[str, int]] = []
    scrypt = hashlib.scrypt

    def counted(password: bytes, **parameters: Any) -> bytes:
        made.append({name: parameters[name] for name in ("n", "r", "p", "dklen")})
        return scrypt(password, **parameters)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    hasher = PasswordHasher()
    text = await hasher.hash("some password")
    assert not await hasher.verify("another", text)
    assert not await hasher.verify("another", None)
    hasher.close()
    assert made == [made[0]] * 3
