"""Passwords are kept as scrypt hashes, made off the event loop (RFC 7914)."""

import asyncio
import base64
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Final

# OWASP's Password Storage Cheat Sheet names these as equal to N=2^17, p=1, and
# they need 16 MiB instead of 128. About 0.2 s of one core.
_N, _R, _P = 2**14, 8, 5
_MEMORY = 64 * 1024 * 1024  # OpenSSL refuses above; it needs 128 * r * (N + p) bytes
_SALT_BYTES = 16
_KEY_BYTES = 32


CORES: Final = os.cpu_count() or 1


class PasswordHasher:
    """Hashes passwords on threads of its own.

    Args:
        at_once: how many hashes are made at once: as many as there are cores for them.
    """

    def __init__(self, at_once: int = CORES) -> None:
        self.at_once = at_once
        self._threads = ThreadPoolExecutor(at_once, "passwords")

    async def hash(self, password: str) -> str:
        """Return the salted hash, with its parameters: ``scrypt$N$r$p$salt$key``."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _scrypt, password)

    def close(self) -> None:
        """Stop the threads; hashes that wait for one are given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _scrypt(password: str) -> str:
    salt = os.urandom(_SALT_BYTES)
    key = hashlib.scrypt(
        password.encode(), salt=salt, n=_N, r=_R, p=_P, maxmem=_MEMORY, dklen=_KEY_BYTES
    )
    texts = (base64.b64encode(part).decode() for part in (salt, key))
    return "$".join(("scrypt", str(_N), str(_R), str(_P), *texts))
