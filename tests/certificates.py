"""Certificates of an authority that only these tests know."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trustme


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
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Files:
        """Return a new certificate for these names, and its key."""
        made = self.ca.issue_cert(
            *identities, common_name=common_name, not_before=since, not_after=until
        )
        files = Files(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        files.cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(files.key))
        return files
