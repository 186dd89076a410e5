"""Passwords are kept as scrypt hashes, made off the event loop (RFC 7914)."""

import asyncio
import base64
import hashlib
import hmac
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Self

# OWASP's Password Storage Cheat Sheet names these as equal to N=2^17, p=1, and
# they need 16 MiB instead of 128. About 0.2 s of one core.
_N, _R, _P = 2**14, 8, 5
_MEMORY = 64 * 1024 * 1024  # OpenSSL refuses above; it needs 128 * r * (N + p) bytes
_SALT_BYTES = 16
_KEY_BYTES = 32
_KIND = "scrypt"


CORES: Final = os.cpu_count() or 1


class PasswordHasher:
    """Hashes passwords on threads of its own.

    Args:
        at_once: how many hashes are made at once: as many as there are cores for them.
    """

    def __init__(self, at_once: int = CORES) -> None:
        self.at_once = at_once
        self._threads = ThreadPoolExecutor(at_once, "passwords")
        # Nobody's: no password has a key of chance bytes.
        self._nobody = _Hash(_N, _R, _P, os.urandom(_SALT_BYTES), os.urandom(_KEY_BYTES))

    async def hash(self, password: str) -> str:
        """Return the salted hash, with its parameters: ``scrypt$N$r$p$salt$key``."""
        return str(await self._run(password, _Hash(_N, _R, _P, os.urandom(_SALT_BYTES), b"")))

    async def verify(self, password: str, text: str | None) -> bool:
        """Return whether a hash is that of a password.

        Args:
            password: the password.
            text: the hash; None where there is none. That takes as long, and is never so.
        """
        known = self._nobody if text is None else _Hash.read(text)
        made = await self._run(password, known)
        return hmac.compare_digest(made.key, known.key)

    async def _run(self, password: str, like: "_Hash") -> "_Hash":
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, like.of, password)

    def close(self) -> None:
        """Stop the threads; hashes that wait for one are given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Hash:
    """A hash, and what it was made with."""

    n: int
    r: int
    p: int
    salt: bytes
    key: bytes

    @classmethod
    def read(cls, text: str) -> Self:
        kind, n, r, p, *parts = text.split("$")
        assert kind == _KIND
        salt, key = (base64.b64decode(part) for part in parts)
        return cls(int(n), int(r), int(p), salt, key)

    def of(self, password: str) -> "_Hash":
        """Return the hash of a password with the same parameters and salt."""
        key = hashlib.scrypt(
            password.encode(),
            salt=self.salt,
            n=self.n,
            r=self.r,
            p=self.p,
            maxmem=_MEMORY,
            dklen=_KEY_BYTES,
        )
        return _Hash(self.n, self.r, self.p, self.salt, key)

    def __str__(self) -> str:
        texts = (base64.b64encode(part).decode() for part in (self.salt, self.key))
        return "$".join((_KIND, str(self.n), str(self.r), str(self.p), *texts))
