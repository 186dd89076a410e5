"""Every mistake in a certificate, a key or an authority is one clear line."""

import asyncio
import datetime
import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.certificates import Authority, Files, encoded

from userservice.rpc import ServerTls, TlsError, client_context
from userservice.rpc import tls as tls_module

JUNK = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> Files:
    """A good pair, to be spoiled."""
    good = authority.sign("good", "127.0.0.1")
    copies = Files(tmp_path / "cert.pem", tmp_path / "key.pem")
    copies.become(good)
    return copies


def fault(make: Callable[[], object], *files: Path) -> str:
    """Return the one line of a mistake; it holds nothing of what is in the files."""
    with pytest.raises(TlsError) as mistake:
        make()
    line = str(mistake.value)
    assert len(line.splitlines()) == 1
    for file in files:
        secrets = file.read_text("latin-1").split("\n")
        assert not [secret for secret in secrets if secret and secret in line]
    return line


def test_a_file_that_cannot_be_read(files: Files, tmp_path: Path) -> None:
    """It is missing, or a folder."""
    missing = tmp_path / "missing.pem"
    pairs = {
        f"the certificate {missing} cannot be read: No such file or directory": (missing, None),
        f"the certificate {tmp_path} cannot be read: Is a directory": (tmp_path, None),
        f"the key {missing} cannot be read: No such file or directory": (None, missing),
        f"the key {tmp_path} cannot be read: Is a directory": (None, tmp_path),
    }
    for expected, (cert, key) in pairs.items():
        pair = (cert or files.cert, key or files.key)
        assert fault(lambda pair=pair: ServerTls(*pair)) == expected  # type: ignore[misc]  # mypy infers no lambda with a default
        assert fault(lambda pair=pair: client_context(None, *pair)) == expected  # type: ignore[misc]  # likewise
    for make in (
        lambda: ServerTls(files.cert, files.key, missing),
        lambda: client_context(missing),
    ):
        assert "CA" in fault(make)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_key_without_permission(files: Files) -> None:
    """The system's words."""
    files.key.chmod(0)
    assert "Permission denied" in fault(lambda: ServerTls(files.cert, files.key))


@pytest.mark.parametrize("content", [b"", b"no certificate\n", b"\x30\x82\x01\x0a\x00\xff"])
def test_a_file_that_is_no_pem(files: Files, content: bytes) -> None:
    """Empty, text, or the binary form."""
    for file, what in ((files.cert, "the certificate"), (files.key, "the key")):
        good = file.read_bytes()
        file.write_bytes(content)
        expected = f"{what} {file} is no PEM file"
        assert fault(lambda: ServerTls(files.cert, files.key)) == expected
        file.write_bytes(good)
    files.cert.write_bytes(content)
    assert "CA" in fault(lambda: client_context(files.cert))


def test_files_that_are_exchanged(files: Files) -> None:
    """The key where the certificate should be, and the other way round."""
    line = fault(lambda: ServerTls(files.key, files.cert), files.key)
    assert line == f"the certificate {files.key} is a PEM file of something else"
    line = fault(lambda: ServerTls(files.cert, files.cert))
    assert line == f"the key {files.cert} is a PEM file of something else"
    line = fault(lambda: client_context(files.key), files.key)
    assert line == f"the CA {files.key} is a PEM file of something else"


def test_a_damaged_file(files: Files) -> None:
    """It begins well."""
    for file in (files.cert, files.key):
        good = file.read_bytes()
        file.write_bytes(good[: len(good) // 3])
        line = fault(lambda: ServerTls(files.cert, files.key), files.key)
        assert "cannot be used" in line
        assert str(file) in line
        file.write_bytes(good)
    files.cert.write_bytes(files.cert.read_bytes()[:200])
    assert "cannot be read as certificates" in fault(lambda: client_context(files.cert))


def test_junk_behind_a_good_certificate(files: Files) -> None:
    """The pair itself could be used; the file is not what its owner thinks it is."""
    files.cert.write_bytes(files.cert.read_bytes() + JUNK)
    line = fault(lambda: ServerTls(files.cert, files.key), files.key)
    assert line.startswith(f"the certificate {files.cert} cannot be read as certificates: ")


def test_a_key_of_another_certificate(files: Files, authority: Authority) -> None:
    """A usual mistake when they are renewed."""
    files.key.write_bytes(authority.sign("another", "127.0.0.1").key.read_bytes())
    line = fault(lambda: ServerTls(files.cert, files.key), files.key)
    assert line == f"the key {files.key} is not that of the certificate {files.cert}"


def test_a_key_with_a_passphrase(files: Files) -> None:
    """Nobody is there to type it."""
    key = load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(encoded(key, b"correct horse"))  # type: ignore[arg-type]  # trustme makes such
    line = fault(lambda: ServerTls(files.cert, files.key), files.key)
    assert line == f"the key {files.key} has a passphrase: it has to be without one"


def test_half_of_a_client_s_pair(files: Files) -> None:
    """A certificate is nothing without its key."""
    for pair in ((files.cert, None), (None, files.key)):
        assert "go together" in fault(lambda pair=pair: client_context(None, *pair))  # type: ignore[misc]  # mypy infers no lambda with a default


def test_certificate_and_key_in_one_file(files: Files) -> None:
    """As some programs want them."""
    both = files.cert.with_name("both.pem")
    both.write_bytes(files.key.read_bytes() + files.cert.read_bytes())
    ServerTls(both, both)


def test_a_certificate_that_clients_will_refuse(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """It is served, as others do: clients may not mind. The log warns."""
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    times = {
        "it has expired": {"since": now - 2 * day, "until": now - day},
        "it is not valid yet": {"since": now + day, "until": now + 2 * day},
        "": {},
    }
    for doubt, validity in times.items():
        caplog.clear()
        files = authority.sign("doubtful", "127.0.0.1", **validity)  # type: ignore[arg-type]  # datetimes
        ServerTls(files.cert, files.key)
        warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert warnings == (
            [f"clients will refuse the certificate {files.cert}: {doubt}"] if doubt else []
        )


def test_what_a_client_takes_by_default() -> None:
    """The authorities of the system, names that are checked, TLS 1.2 or newer."""
    context = client_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_file_that_vanishes_is_said_once_and_waited_for(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    """What was read before it goes on being shown."""
    caplog.set_level(logging.INFO)
    tls = ServerTls(files.cert, files.key)
    before, hidden = tls.context, files.cert.with_name("hidden")
    files.cert.rename(hidden)
    for _ in range(3):
        await tls.refresh()
    assert tls.context is before
    hidden.rename(files.cert)
    files.cert.touch()
    await tls.refresh()
    assert tls.context is not before
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


@pytest.mark.parametrize(
    "fault",
    [
        FileNotFoundError(2, "No such file or directory"),  # moved away while it is read
        ssl.SSLError(9, "no certificate or crl found"),
        RuntimeError("nobody thought of this"),
    ],
)
async def test_whatever_goes_wrong_the_next_renewal_is_seen(
    files: Files,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
) -> None:
    """It is said once, and the files are looked at all the same."""
    tls = ServerTls(files.cert, files.key, check_s=0.005)
    before, tries = tls.context, 0

    def read(*_: object) -> str:
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise fault
        return ""

    monkeypatch.setattr(tls_module, "_doubt", read)
    watching = asyncio.create_task(tls.watch())
    os.utime(files.cert, (1, 1))
    async with asyncio.timeout(10):
        while tls.context is before:
            assert not watching.done()
            await asyncio.sleep(0.005)
    watching.cancel()
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1
