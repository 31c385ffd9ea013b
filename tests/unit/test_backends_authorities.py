"""Authorities that a daemon trusts: where their certificates are, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from pytest_dind import Settings, SettingsError
from pytest_dind.backends import authorities


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """The file of an authority's certificate."""
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return path


def test_none() -> None:
    """Without any there is nothing to do."""
    assert authorities.files([]) == {}
    assert authorities.variables([], {}) == {}


def test_places(ca: Path) -> None:
    """Those of a registry are where dockerd looks for its; those for all have a directory."""
    other = ca.with_name("with=sign.pem")
    other.write_bytes(ca.read_bytes())
    given = [f"registry:5000={ca}", str(ca), f"[::1]:5000={ca}", f"r.example={ca}"]
    assert authorities.files(given) == dict.fromkeys(
        [
            "etc/docker/certs.d/registry:5000/pytest-dind-0.crt",
            "etc/pytest-dind/certificates/pytest-dind-1.crt",
            "etc/docker/certs.d/[::1]:5000/pytest-dind-2.crt",
            "etc/docker/certs.d/r.example/pytest-dind-3.crt",
        ],
        ca.read_bytes(),
    )


def test_variable(ca: Path) -> None:
    """Dockerd is told of the directory only where there is one, and keeps those that it has."""
    assert authorities.variables([f"r={ca}"], {}) == {}
    ours = "/etc/pytest-dind/certificates"
    usual = {"SSL_CERT_DIR": f"/etc/ssl/certs:/etc/pki/tls/certs:{ours}"}
    assert authorities.variables([str(ca)], {}) == usual
    assert authorities.variables([str(ca)], {"SSL_CERT_DIR": "/a"}) == {
        "SSL_CERT_DIR": f"/a:{ours}"
    }


@pytest.mark.parametrize("content", [None, b"", b"text\n", b"\xff\xfe"])
def test_no_certificate(tmp_path: Path, content: bytes | None) -> None:
    """A file that is not there or no certificate is an error that names it, and says how."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    settings = Settings(ca=[f"registry:5000={path}"])
    for check in (settings.check_files, lambda: authorities.files(settings.ca)):
        with pytest.raises(SettingsError) as caught:
            check()
        assert str(caught.value).startswith(
            f"--dind-ca: {str(path)!r} is not a file with a certificate.\nEvidence:\n"
        )
        assert caught.value.evidence not in ("", "None")
        assert caught.value.remedy == (
            "Name a file in PEM format, which begins with -----BEGIN CERTIFICATE-----.",
            "Convert one in DER format: openssl x509 -inform der -in FILE -out ca.pem",
        )


@pytest.mark.parametrize("value", ["", "registry=", "=ca.pem", "https://r=ca.pem", "a/b=ca.pem"])
def test_bad_value(value: str) -> None:
    """A value without a file, or with no registry's name, is refused."""
    with pytest.raises(SettingsError, match=r"--dind-ca: .* is not a valid value"):
        Settings(ca=[value])
