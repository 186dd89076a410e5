"""Tokens that others sign: with keys as PEM, or at a URL; made here by another library."""

import asyncio
import json
import logging
import socket
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from joserfc import jwk, jwt
from tests.rpc.peers import Stock
from tests.rpc.test_authentication import bearer
from tests.rpc.test_jwt import AUDIENCE, ISSUER, claims

from inventory._gen.inventory.v1 import GetStockRequest
from inventory.client import InventoryClient
from userservice.rpc import UnauthenticatedError, UnavailableError
from userservice.rpc.jwks import BYTES_MAX, JwksKeys, JwksUrlError
from userservice.rpc.jwt import JwtError, JwtVerifier, Keys, UnknownJwtKeyError
from userservice.rpc.middleware.authentication import Authentication, Jwts
from userservice.rpc.public_keys import PublicKeyError, read_jwks, read_pem
from userservice.rpc.testing import ChannelFor

# The library warns of EdDSA, which has a new name since RFC 9864.
pytestmark = pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")

ALGORITHMS = ("RS256", "ES256", "EdDSA")

RSA = jwk.RSAKey.generate_key(2048)
KEYS: dict[str, Any] = {
    "RS256": RSA,
    "ES256": jwk.ECKey.generate_key("P-256"),
    "EdDSA": jwk.OKPKey.generate_key("Ed25519"),
}
OTHERS: dict[str, Any] = {
    "RS256": jwk.RSAKey.generate_key(2048),
    "ES256": jwk.ECKey.generate_key("P-256"),
    "EdDSA": jwk.OKPKey.generate_key("Ed25519"),
}


def signed(algorithm: str, key: Any = None, kid: str | None = None, **changed: Any) -> str:
    """A token of another library."""
    header = {"alg": algorithm} | ({} if kid is None else {"kid": kid})
    return jwt.encode(header, claims(**changed), key or KEYS[algorithm], algorithms=[algorithm])


def pem(algorithm: str) -> bytes:
    """The public key of an algorithm."""
    octets: bytes = KEYS[algorithm].as_pem(private=False)
    return octets


def entry(algorithm: str, kid: str | None = None, **others: Any) -> dict[str, Any]:
    """The public key of an algorithm in a set."""
    named = {} if kid is None else {"kid": kid}
    public: dict[str, Any] = KEYS[algorithm].as_dict(private=False)
    public.pop("kid", None)
    return {**public, **named, **others}


def verifier(keys: Keys) -> JwtVerifier:
    """A verifier with these keys."""
    return JwtVerifier(keys, issuer=ISSUER, audience=AUDIENCE)


# PEM


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_public_key_verifies(algorithm: str) -> None:
    """Tokens that its private key has signed, whatever name they give it; no others."""
    key = read_pem(pem(algorithm))
    assert (key.kid, key.algorithm) == (None, algorithm)
    with_key = verifier(Keys([key]))
    assert with_key.verify(signed(algorithm))["sub"] == "ann"
    assert with_key.verify(signed(algorithm, kid="any"))["sub"] == "ann"
    with pytest.raises(JwtError):
        with_key.verify(signed(algorithm, OTHERS[algorithm]))


def test_a_public_key_is_no_secret() -> None:
    """HS256 with the text of a public key for a secret, the oldest trick, is refused."""
    keys = Keys(read_pem(pem(algorithm)) for algorithm in ALGORITHMS)
    for algorithm in ALGORITHMS:
        secret = jwk.OctKey.import_key(pem(algorithm).replace(b"-----", b"").ljust(64))
        forged = jwt.encode({"alg": "HS256"}, claims(), secret)
        with pytest.raises(JwtError):
            verifier(keys).verify(forged)


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
def test_a_key_has_one_algorithm(algorithm: str) -> None:
    """Others that it could be used with are refused."""
    token = jwt.encode({"alg": algorithm}, claims(), RSA, algorithms=[algorithm])
    with pytest.raises(JwtError):
        verifier(Keys([read_pem(pem("RS256"))])).verify(token)


def private_pem() -> bytes:
    """A private key in the place of a public one."""
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def public_pem(key: Any) -> bytes:
    """A public key as PEM."""
    octets: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return octets


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", "no public key in PEM"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key"),
        (private_pem(), "it is a private key"),
        (public_pem(rsa.generate_private_key(65537, 1024)), "2048 to 8192"),
        (public_pem(ec.generate_private_key(ec.SECP384R1())), "P-256"),
    ],
    ids=["empty", "nonsense", "private", "short", "other curve"],
)
def test_what_is_no_public_key_is_refused(octets: bytes, words: str) -> None:
    """In words that say what is wrong."""
    with pytest.raises(PublicKeyError, match=words) as refused:
        read_pem(octets)
    assert "BEGIN" not in str(refused.value) or "no public key" in words


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra: nobody has it by default."""
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(PublicKeyError, match=r"userservice\[crypto\]"):
        read_pem(pem("RS256"))
    with pytest.raises(PublicKeyError, match=r"userservice\[crypto\]"):
        JwksKeys("https://issuer.example/keys")


# Sets of keys


def test_the_keys_of_a_set_are_read() -> None:
    """By their names; what is for something else, or of another kind, is left out."""
    private = KEYS["ES256"].as_dict(private=True)
    document = {
        "keys": [
            entry("RS256", "r", use="sig", alg="RS256"),
            entry("ES256", "e"),
            entry("EdDSA", "d", key_ops=["verify"]),
            entry("RS256", "encrypts", use="enc"),
            entry("RS256", "another", alg="PS256"),
            {**private, "kid": "private"},
            {"kty": "oct", "k": "A" * 43, "kid": "secret"},
            {"kty": "OKP", "crv": "X25519", "x": "A" * 43, "kid": "exchange"},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "tiny"},
            {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "no point"},
            {"kty": "RSA", "kid": ["a", "list"]},
            {"kty": 7},
            {},
            "text",
        ]
    }
    keys = read_jwks(json.dumps(document).encode())
    assert [(key.kid, key.algorithm) for key in keys] == [
        ("r", "RS256"),
        ("e", "ES256"),
        ("d", "EdDSA"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": 7}',
        b"[" * 100_000,
        b'\xff{"keys": []}',
        json.dumps({"keys": [{}] * 65}).encode(),
    ],
    ids=["empty", "list", "no keys", "number", "deep", "no text", "many"],
)
def test_what_is_no_set_is_refused(text: bytes) -> None:
    """As a whole."""
    with pytest.raises(PublicKeyError):
        read_jwks(text)


# A URL


class KeyServer:
    """Serves a set of keys on loopback; tests change what it answers."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b""
        self.headers: dict[str, str] = {}
        self.fetches = 0
        self.hold = threading.Event()
        self.hold.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.fetches += 1
                outer.hold.wait(10)
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):  # the other side may have read enough
                    self.wfile.write(outer.body)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # its name
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/keys"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def publish(self, *entries: dict[str, Any]) -> None:
        """Serve these keys."""
        self.body = json.dumps({"keys": list(entries)}).encode()

    def stop(self) -> None:
        """Stop serving."""
        self.hold.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@contextmanager
def running_key_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyServer]:
    """Run a server of keys, which no proxy is asked for."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = KeyServer()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def key_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyServer]:
    """A server of keys."""
    with running_key_server(monkeypatch) as server:
        yield server


@pytest.fixture
async def keys(key_server: KeyServer) -> AsyncIterator[JwksKeys]:
    """The keys of that server; they may be fetched as often as need be."""
    fetched = JwksKeys(key_server.url, every_s=0)
    yield fetched
    await fetched.aclose()


async def test_keys_are_fetched_when_they_are_needed(key_server: KeyServer, keys: JwksKeys) -> None:
    """Once, and again for a key that is not there: the issuer has a new one."""
    key_server.publish(entry("RS256", "one"))
    with_keys = verifier(keys)
    first = signed("RS256", kid="one")
    assert key_server.fetches == 0
    for _ in range(3):
        assert (await with_keys.verify_fresh(first))["sub"] == "ann"
    assert key_server.fetches == 1
    key_server.publish(entry("RS256", "one"), entry("ES256", "two"))
    assert (await with_keys.verify_fresh(signed("ES256", kid="two")))["sub"] == "ann"
    assert key_server.fetches == 2


async def test_a_key_that_is_taken_back_is_good_no_longer(
    key_server: KeyServer, keys: JwksKeys
) -> None:
    """Once the set is old; also for tokens that were verified before."""
    key_server.publish(entry("RS256", "one"), entry("ES256", "two"))
    with_keys = verifier(keys)
    token = signed("RS256", kid="one")
    await with_keys.verify_fresh(token)
    assert with_keys.known(token) is not None
    key_server.publish(entry("ES256", "two"))
    keys.fresh_until = time.monotonic() - 1
    assert with_keys.known(token) is None
    with pytest.raises(UnknownJwtKeyError):
        await with_keys.verify_fresh(token)


async def test_unknown_keys_do_not_flood_the_issuer(key_server: KeyServer) -> None:
    """Whoever makes up names of keys causes one fetch in a while; all who wait share it."""
    key_server.publish(entry("RS256", "one"))
    keys = JwksKeys(key_server.url, every_s=60)
    with_keys = verifier(keys)
    made_up = [with_keys.verify_fresh(signed("RS256", kid=str(n))) for n in range(50)]
    outcomes = await asyncio.gather(*made_up, return_exceptions=True)
    assert all(isinstance(outcome, UnknownJwtKeyError) for outcome in outcomes)
    await with_keys.verify_fresh(signed("RS256", kid="one"))
    assert key_server.fetches == 1
    await keys.aclose()


async def test_a_caller_that_leaves_takes_no_keys_away(key_server: KeyServer) -> None:
    """The fetch goes on for the others."""
    key_server.publish(entry("RS256", "one"))
    key_server.hold.clear()
    keys = JwksKeys(key_server.url, every_s=60)
    with_keys = verifier(keys)
    leaving, staying = (
        asyncio.create_task(with_keys.verify_fresh(signed("RS256", kid="one"))) for _ in range(2)
    )
    while not key_server.fetches:
        await asyncio.sleep(0.001)
    leaving.cancel()
    await asyncio.wait({leaving})
    key_server.hold.set()
    assert (await staying)["sub"] == "ann"
    await keys.aclose()


async def test_the_loop_goes_on_while_keys_are_fetched(key_server: KeyServer) -> None:
    """A server of keys that does not answer holds up who needs them, for a bounded time."""
    key_server.hold.clear()
    keys = JwksKeys(key_server.url, timeout_s=0.2)
    waiting = asyncio.create_task(verifier(keys).verify_fresh(signed("RS256", kid="one")))
    turns = 0
    while not waiting.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert turns > 10
    with pytest.raises(UnknownJwtKeyError):
        await waiting
    assert keys.trouble
    await keys.aclose()


async def test_old_keys_go_on_where_new_ones_cannot_be_had(
    key_server: KeyServer, keys: JwksKeys, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged."""
    caplog.set_level(logging.WARNING)
    key_server.publish(entry("RS256", "one"))
    with_keys = verifier(keys)
    await with_keys.verify_fresh(signed("RS256", kid="one"))
    key_server.status = 503
    keys.fresh_until = time.monotonic() - 1
    assert await with_keys.verify_fresh(signed("RS256", kid="one", sub="bob"))
    assert "it answered 503" in caplog.text


@pytest.mark.parametrize(
    ("status", "body", "headers", "words"),
    [
        (404, b"", {}, "404"),
        (302, b"", {"Location": "http://127.0.0.1:1/"}, "redirection"),
        (200, b"<html>", {}, "no JSON"),
        (200, b" " * (BYTES_MAX + 1), {}, "larger"),
        (200, b"", {"Content-Length": "10"}, ""),
    ],
    ids=["missing", "redirection", "page", "large", "cut"],
)
async def test_what_is_no_answer_is_trouble(
    key_server: KeyServer,
    keys: JwksKeys,
    status: int,
    body: bytes,
    headers: dict[str, str],
    words: str,
) -> None:
    """No key is taken from it."""
    key_server.status, key_server.body, key_server.headers = status, body, headers
    with pytest.raises(UnknownJwtKeyError):
        await verifier(keys).verify_fresh(signed("RS256", kid="one"))
    assert words in (keys.trouble or "nothing")
    assert keys.at_hand == ()


async def test_an_answer_that_trickles_is_given_up(key_server: KeyServer) -> None:
    """One byte now and then would hold a thread for ever."""
    lines = threading.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not lines.is_set():
            writer.write(b" ")
            try:
                await writer.drain()
            except ConnectionError:
                break
            await asyncio.sleep(0.02)
        writer.close()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as slow:
        port = slow.sockets[0].getsockname()[1]
        keys = JwksKeys(f"http://127.0.0.1:{port}/", timeout_s=0.2)
        await keys.refresh()
        assert keys.trouble == "it took too long"
        lines.set()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/keys",
        "http://127.0.0.1.evil.example/keys",
        "http://localhost.evil.example/keys",
        "http://0x7f.1/keys",
        "file:///etc/passwd",
        "ftp://127.0.0.1/keys",
        "https:///keys",
        "keys",
        "",
    ],
)
def test_keys_come_by_https_only(url: str) -> None:
    """Whoever is on the way could put in one of its own."""
    with pytest.raises(JwksUrlError):
        JwksKeys(url)
    JwksKeys("https://issuer.example/keys")
    JwksKeys("http://[::1]:80/keys")
    JwksKeys("http://localhost/keys")


async def test_a_certificate_that_is_not_trusted_is_trouble() -> None:
    """https means that it is looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            accepted, _ = listening.accept()
            with accepted, suppress(ssl.SSLError):
                context.wrap_socket(accepted, server_side=True).close()

        answering = asyncio.create_task(asyncio.to_thread(answer))
        keys = JwksKeys(f"https://127.0.0.1:{listening.getsockname()[1]}/")
        await keys.refresh()
        assert keys.trouble == "its certificate is of an authority that is not trusted here"
        await answering


async def test_a_server_takes_them(key_server: KeyServer, keys: JwksKeys, stock: Stock) -> None:
    """And says UNAVAILABLE, which is tried again, where the keys cannot be had."""
    key_server.status = 500
    middleware = [Authentication([Jwts([verifier(keys)])])]
    async with ChannelFor([stock], middleware=middleware) as channel:
        client = InventoryClient(channel, timeout_s=5)
        token = signed("EdDSA", kid="one")
        with pytest.raises(UnavailableError, match="keys of the token's issuer"):
            await client.get_stock(GetStockRequest(), metadata=bearer(token))
        key_server.status = 200
        key_server.publish(entry("EdDSA", "one"))
        await client.get_stock(GetStockRequest(), metadata=bearer(token))
        with pytest.raises(UnauthenticatedError, match="not known"):
            await client.get_stock(
                GetStockRequest(), metadata=bearer(signed("EdDSA", kid="made up"))
            )
