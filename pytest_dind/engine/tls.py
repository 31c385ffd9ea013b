"""Certificates for one daemon: a CA that nobody keeps, a server's and a client's."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModeUnavailable
from .http import CA, CERTIFICATE, KEY

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256

REMEDY = "Have the daemon reached over TLS instead: pip install 'pytest-dind[remote]'."
"""What brings the library that makes certificates, and with it another way to a daemon."""

# Clocks of two machines differ; a daemon that is reused may live for long.
_EARLIER = timedelta(days=1)
_LIFETIME = timedelta(days=3650)


@dataclass(frozen=True, repr=False)
class Identity:
    """What one side proves who it is with, in PEM; the other side trusts the same CA.

    Attributes:
        ca: The CA's certificate.
        certificate: This side's.
        key: This side's private key.
    """

    ca: bytes
    certificate: bytes
    key: bytes

    def files(self) -> dict[str, bytes]:
        """As files, named as the docker CLI wants them."""
        return {CA: self.ca, CERTIFICATE: self.certificate, KEY: self.key}

    def write(self, path: Path) -> None:
        """Write the files into a new directory; both are this user's alone."""
        path.mkdir(mode=0o700)
        for name, content in self.files().items():
            file = path / name
            file.touch(mode=0o600)
            file.write_bytes(content)

    def archive(self, path: str, last: str) -> bytes:
        """A tar of the files below `path`, for root alone; `last` is an empty file at its end."""
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w") as tar:
            parts = Path(path).parts
            for depth in range(1, len(parts) + 1):
                entry = tarfile.TarInfo(str(Path(*parts[:depth])))
                entry.type, entry.mode = tarfile.DIRTYPE, 0o700
                tar.addfile(entry)
            for name, content in {**self.files(), last: b""}.items():
                entry = tarfile.TarInfo(f"{path}/{name}")
                entry.mode, entry.size = 0o600, len(content)
                tar.addfile(entry, io.BytesIO(content))
        return target.getvalue()


def available() -> bool:
    """Whether certificates can be made here."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        return False
    return True


def make(hosts: Sequence[str]) -> tuple[Identity, Identity]:
    """A server's identity, for these names and addresses, and a client's.

    Raises:
        ModeUnavailable: the library that makes them is missing.
    """
    if not available():
        raise ModeUnavailable(
            "A daemon on an engine that shares no file system needs certificates, which can't be "
            "made here.",
            evidence="The package cryptography is not installed.",
            remedy=[REMEDY, "Use an engine on this machine: --dind-host."],
        )
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    authority = _Authority()
    names = [_name(host) for host in hosts]
    return (
        authority.identity("daemon", ExtendedKeyUsageOID.SERVER_AUTH, names),
        authority.identity("client", ExtendedKeyUsageOID.CLIENT_AUTH, [x509.DNSName("client")]),
    )


def _name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class _Authority:
    """A CA; its key is gone with it."""

    def __init__(self) -> None:
        from cryptography import x509

        self._key = _key()
        subject = _subject("CA")
        self._certificate = (
            _builder(self._key, subject, subject, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, _hash())
        )

    def identity(
        self, name: str, purpose: x509.ObjectIdentifier, names: Sequence[x509.GeneralName]
    ) -> Identity:
        """An identity for one purpose."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        key = _key()
        certificate = (
            _builder(key, _subject(name), self._certificate.subject, self._key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, _hash())
        )
        return Identity(
            ca=self._certificate.public_bytes(Encoding.PEM),
            certificate=certificate.public_bytes(Encoding.PEM),
            key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )


def _key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _hash() -> SHA256:
    from cryptography.hazmat.primitives.hashes import SHA256

    return SHA256()


def _subject(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"pytest-dind {name}")])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    key: EllipticCurvePrivateKey,
    subject: x509.Name,
    issuer: x509.Name,
    issuer_key: EllipticCurvePrivateKey,
) -> x509.CertificateBuilder:
    """What all certificates have; newer Pythons insist on both key identifiers (RFC 5280)."""
    from cryptography import x509

    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
