"""A TLS 1.3 client that asks for new keys, which Python's own cannot (RFC 8446 section 4.6.3)."""

import hashlib
import hmac
import socket
import ssl
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_HASH: Final = hashlib.sha384
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12

_ASKED: Final = b"\x18\x00\x00\x01\x01"  # KeyUpdate, update_requested
_HANDSHAKE: Final = b"\x16"


class KeyUpdates:
    """Makes the records of a client that only ever asks for new keys, after its handshake.

    Args:
        sock: connected to the server; the handshake is made here.
        context: what the handshake is made with.
        log: a file for the secrets of the connection.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, log: Path) -> None:
        context.keylog_filename = str(log)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65_536))
            else:
                break
        sock.sendall(outgoing.read())
        assert tls.cipher() == ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256)
        [line] = [x for x in log.read_text().splitlines() if x.startswith("CLIENT_TRAFFIC_SECRET")]
        self._secret = bytes.fromhex(line.split()[2])

    def record(self) -> bytes:
        """Return the next: each is the first, and the last, that its keys encrypt."""
        key = self._expanded(b"key", _KEY_BYTES)
        nonce = self._expanded(b"iv", _NONCE_BYTES)
        self._secret = self._expanded(b"traffic upd", _HASH().digest_size)
        inner = _ASKED + _HANDSHAKE
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        return header + AESGCM(key).encrypt(nonce, inner, header)

    def _expanded(self, label: bytes, length: int) -> bytes:
        """HKDF-Expand-Label of what is no longer than the hash (RFC 8446 section 7.1)."""
        name = b"tls13 " + label
        info = length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
        return hmac.digest(self._secret, info + b"\x01", _HASH)[:length]
