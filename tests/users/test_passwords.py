"""Passwords are kept as scrypt hashes, made beside the event loop."""

import asyncio
import base64
import hashlib
import time

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
