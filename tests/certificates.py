"""Certificates of an authority that only these tests know."""

import datetime
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Files:
    """A certificate and its key, as files."""

    cert: Path
    key: Path

    def become(self, other: "Files") -> None:
        """Replace the files by others, at once for each."""
        for old, new in ((self.cert, other.cert), (self.key, other.key)):
            beside = old.with_suffix(".new")
            beside.write_bytes(new.read_bytes())
            beside.replace(old)


class Authority:
    """Signs certificates.

    Args:
        folder: where its files are written.
        name: what it is called.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self.name = name
        self.ca = trustme.CA(organization_name=name)
        self.file = folder / f"{name}.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def sign(
        self,
        name: str,
        *identities: str,
        common_name: str | None = None,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
    ) -> Files:
        """Return a new certificate for these names, and its key."""
        made = self.ca.issue_cert(
            *identities, common_name=common_name, not_before=since, not_after=until
        )
        files = Files(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        files.cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(files.key))
        return files

    def sign_workload(self, uri: str) -> Files:
        """Return a certificate that has no name but a URI, as a SPIFFE authority signs it.

        The authority has a common name; its own file is `workloads`.
        """
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "workloads")])
        made = []
        for subject, own, extension in (
            (issuer, ca_key, x509.BasicConstraints(ca=True, path_length=None)),
            (
                x509.Name([]),
                key,
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]),
            ),
        ):
            builder = x509.CertificateBuilder(
                issuer, subject, own.public_key(), x509.random_serial_number(), now - day, now + day
            )
            made.append(
                builder.add_extension(extension, critical=True)
                .sign(ca_key, hashes.SHA256())
                .public_bytes(serialization.Encoding.PEM)
            )
        self.workloads.write_bytes(made[0])
        files = Files(self.folder / "workload.pem", self.folder / "workload.key")
        files.cert.write_bytes(made[1])
        files.key.write_bytes(encoded(key))
        return files

    @property
    def workloads(self) -> Path:
        """The file of the authority that signs workloads."""
        return self.folder / "workloads.pem"


def encoded(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    """Return a key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()
        if passphrase is None
        else serialization.BestAvailableEncryption(passphrase),
    )
