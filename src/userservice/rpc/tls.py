"""TLS, on both sides: contexts, certificates that change, and what went wrong in words.

HTTP/2 over TLS is agreed on with ALPN, and takes TLS 1.2 or newer with ciphers that are
authenticated and have a key of their own for each connection (RFC 9113 sections 3.3 and 9.2).
"""

import asyncio
import logging
import os
import ssl
from pathlib import Path
from typing import Final, NoReturn

log = logging.getLogger(__name__)

ALPN: Final = "h2"

NO_HTTP2: Final = "the TLS handshake agreed on no HTTP/2 (ALPN h2)"

# For TLS 1.2: none of these is in RFC 9113's appendix A. The ciphers of TLS 1.3 are all good.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"

_CHECK_S: Final = 5.0  # how often files are looked at


class TlsError(ValueError):
    """A certificate, a key or an authority cannot be used; the text is one line."""


class ServerTls:
    """What a server shows its clients, and asks of them.

    The files are read anew when they change, for connections to come. What cannot be used
    is not taken: the one before stays, and the log says so.

    Args:
        cert: a PEM file: the certificate, and those between it and its authority.
        key: a PEM file: the certificate's key.
        client_ca: a PEM file: the authorities of clients. With it, a client has to have a
            certificate of one of them.
        check_s: how often the files are looked at, in seconds.

    Raises:
        TlsError: a file cannot be used.
    """

    def __init__(
        self,
        cert: str | os.PathLike[str],
        key: str | os.PathLike[str],
        client_ca: str | os.PathLike[str] | None = None,
        *,
        check_s: float = _CHECK_S,
    ) -> None:
        self._cert, self._key = Path(cert), Path(key)
        self._client_ca = None if client_ca is None else Path(client_ca)
        self._check_s = check_s
        self._fault = ""
        self._state = self._stat()
        self.context = self._read()
        """What the next connection's handshake is made with."""

    @property
    def _files(self) -> list[Path]:
        files = [self._cert, self._key]
        return files if self._client_ca is None else [*files, self._client_ca]

    def _stat(self) -> list[tuple[int, ...] | None]:
        """Return what changes when a file does: also where a link leads elsewhere."""
        return [_stat_of(file) for file in self._files]

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _harden(context)
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        _load_identity(context, self._cert, self._key)
        doubt = _doubt(context, self._cert)
        if doubt:
            log.warning("clients will refuse the certificate %s: %s", self._cert, doubt)
        if self._client_ca is not None:
            _load_authorities(context, self._client_ca, "the client CA")
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    async def watch(self) -> NoReturn:
        """Read the files anew whenever they change, until it is cancelled."""
        while True:
            await asyncio.sleep(self._check_s)
            try:
                await self.refresh()
            except Exception as error:  # without it, no later renewal would be seen
                if self._is_news(error):
                    log.exception("the certificate %s could not be read anew", self._cert)

    async def refresh(self) -> None:
        """Read the files anew if they changed."""
        # Before they are read: a change while they are read is one more.
        state = self._stat()
        if state == self._state:
            return
        try:
            self.context = await asyncio.to_thread(self._read)
        except (TlsError, OSError) as error:  # half written, perhaps: the next time may do
            if self._is_news(error):
                log.warning("%s; the certificate before it stays in use", error)
            return
        self._state, self._fault = state, ""
        log.info("the certificate %s was read anew", self._cert)

    def _is_news(self, error: Exception) -> bool:
        """Tell whether this was not said already: a fault stays until the files are mended."""
        before, self._fault = self._fault, str(error)
        return self._fault != before


def client_context(
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
) -> ssl.SSLContext:
    """Return a context for ``connect``.

    Args:
        ca: a PEM file: the authorities that a server's certificate may be of; the system's
            without it.
        cert: a PEM file: the client's own certificate, for servers that ask for one.
        key: a PEM file: its key.

    Raises:
        TlsError: a file cannot be used.
    """
    if (cert is None) != (key is None):
        raise TlsError("a certificate and its key go together: one of them is missing")
    if ca is None:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load_authorities(context, Path(ca), "the CA")
    _harden(context)
    if cert is not None and key is not None:
        _load_identity(context, Path(cert), Path(key))
    return context


def agreed(tls: ssl.SSLObject) -> bool:
    """Tell whether both sides agreed on HTTP/2."""
    return tls.selected_alpn_protocol() == ALPN


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols([ALPN])
    context.options |= ssl.OP_NO_RENEGOTIATION  # RFC 9113 section 9.2.1; no compression either


def _load_identity(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    _read_pem(cert, "the certificate", b"CERTIFICATE-----")
    _read_pem(key, "the key", b"PRIVATE KEY-----")
    try:
        context.load_cert_chain(cert, key, _has_no_passphrase)
    except _EncryptedError:
        raise TlsError(f"the key {key} has a passphrase: it has to be without one") from None
    except OSError as error:
        raise TlsError(_fault_of_pair(error, cert, key)) from None


def _load_authorities(context: ssl.SSLContext, file: Path, what: str) -> None:
    _read_pem(file, what, b"CERTIFICATE-----")
    try:
        context.load_verify_locations(file)
    except OSError as error:
        raise TlsError(f"{what} {file} cannot be read as certificates: {_words(error)}") from None


# By the codes of X509_verify_cert: what is wrong whoever has signed it.
_DOUBTS: Final = {
    9: "it is not valid yet",
    10: "it has expired",
    26: "it is not for servers",
}


def _doubt(context: ssl.SSLContext, cert: Path) -> str:
    """Return what clients will have against a certificate, whoever has signed it.

    Python reads no certificate, but what another side showed in a handshake: so there is one.

    Raises:
        TlsError: the file cannot be read any more, or holds something else as well.
    """
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it is its own authority here
    # A file may have a good pair, and behind it what is no certificate.
    _load_authorities(client_context, cert, "the certificate")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client):  # hello, certificate, verdict
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            return _DOUBTS.get(error.verify_code, error.verify_message)
        except ssl.SSLError as error:  # the key is of a kind that nobody takes
            return _words(error)
    return ""


class _EncryptedError(Exception):
    pass


def _has_no_passphrase() -> NoReturn:
    raise _EncryptedError


def _read_pem(file: Path, what: str, mark: bytes) -> None:
    try:
        text = file.read_bytes()
    except OSError as error:
        raise TlsError(f"{what} {file} cannot be read: {error.strerror}") from None
    if b"-----BEGIN " not in text:
        raise TlsError(f"{what} {file} is no PEM file")
    if mark not in text:
        raise TlsError(f"{what} {file} is a PEM file of something else")


def _fault_of_pair(error: OSError, cert: Path, key: Path) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return f"the key {key} is not that of the certificate {cert}"
    return f"the certificate {cert} with the key {key} cannot be used: {_words(error)}"


def _words(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return (reason or "it is damaged").replace("_", " ").lower()


def _stat_of(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
