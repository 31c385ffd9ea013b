"""Certificates for one daemon and its clients, of CAs whose keys are kept nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModeUnavailable
from . import tars
from .http import CA, CERTIFICATE, KEY

if TYPE_CHECKING:
    import trustme

REMEDY = "Have the daemon reached over TLS instead: pip install 'pytest-dind[remote]'."
"""The remedy for an engine that shares no directory, where the library for TLS is missing."""


@dataclass(frozen=True, repr=False)
class Identity:
    """The certificate and key of one side of a connection, and the CA that it trusts, in PEM.

    Attributes:
        ca: The certificate of the CA that signed the other side's certificate.
        certificate: This side's certificate.
        key: This side's private key.
    """

    ca: bytes
    certificate: bytes
    key: bytes

    def files(self) -> dict[str, bytes]:
        """The contents of the files by the names that the docker CLI knows them by."""
        return {CA: self.ca, CERTIFICATE: self.certificate, KEY: self.key}

    def write(self, path: Path) -> None:
        """Write the files into a new directory; all is readable for this user alone."""
        path.mkdir(mode=0o700)
        for name, content in self.files().items():
            file = path / name
            file.touch(mode=0o600)
            file.write_bytes(content)

    def entries(self, path: str) -> list[tars.Entry]:
        """The files as an archive has them, in the directory `path`, for root alone."""
        return [
            tars.Entry(f"{path}/{name}", content, 0o600) for name, content in self.files().items()
        ]


def available() -> bool:
    """Whether the library that makes certificates is installed."""
    try:
        import trustme  # noqa: F401
    except ImportError:
        return False
    return True


def make(hosts: Sequence[str]) -> tuple[Identity, Identity]:
    """Make the identity of a server with these names and addresses, and that of its client.

    Each is signed by a CA of its own, so that neither side can pose as the other.

    Raises:
        ModeUnavailable: the library that makes them is missing.
    """
    if not available():
        raise ModeUnavailable(
            "A daemon on an engine that shares no file system needs certificates, which can't be "
            "made here.",
            evidence="The package trustme is not installed.",
            remedy=[REMEDY, "Use an engine on this machine: --dind-host."],
        )
    import trustme

    # trustme's certificates are valid from the year 2000 to 3000, so clocks may differ.
    of_servers, of_clients = trustme.CA(), trustme.CA()
    return (
        _identity(of_servers.issue_cert(*hosts), trusted=of_clients),
        _identity(of_clients.issue_cert("client"), trusted=of_servers),
    )


def _identity(issued: trustme.LeafCert, trusted: trustme.CA) -> Identity:
    return Identity(
        ca=trusted.cert_pem.bytes(),
        certificate=b"".join(blob.bytes() for blob in issued.cert_chain_pems),
        key=issued.private_key_pem.bytes(),
    )
