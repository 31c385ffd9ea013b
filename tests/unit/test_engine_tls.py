"""Certificates: both sides prove themselves, for the names they are for, and nobody else does."""

from __future__ import annotations

import io
import socket
import ssl
import tarfile
from pathlib import Path
from threading import Thread

import pytest

from pytest_dind import ModeUnavailable
from pytest_dind.engine import http, tars
from pytest_dind.engine import tls as certificates


def _server(identity: certificates.Identity, path: Path) -> ssl.SSLContext:
    identity.write(path)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(path / http.CA)
    made.load_cert_chain(path / http.CERTIFICATE, path / http.KEY)
    return made


def _said(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bytes:
    """What a server says to a client that dials it by a name; nothing when either refuses."""
    here, there = socket.socketpair()

    def serve() -> None:
        try:
            with there, server.wrap_socket(there, server_side=True) as connection:
                connection.sendall(b"hello")
        except (ssl.SSLError, OSError):
            pass

    thread = Thread(target=serve)
    thread.start()
    try:
        with here, client.wrap_socket(here, server_hostname=name) as connection:
            return connection.recv(5)
    except (ssl.SSLError, ConnectionError):
        return b""
    finally:
        thread.join()


@pytest.mark.parametrize(
    ("dialled", "expected"),
    [("192.0.2.7", b"hello"), ("build.example", b"hello"), ("192.0.2.8", b""), ("example", b"")],
)
def test_names(tmp_path: Path, dialled: str, expected: bytes) -> None:
    """A client takes the server by the names and addresses it is made for, and by no others."""
    server, client = certificates.make(["192.0.2.7", "build.example"])
    client.write(tmp_path / "client")
    strict = http.context(str(tmp_path / "client"))
    strict.verify_flags |= getattr(ssl, "VERIFY_X509_STRICT", 0)

    assert _said(_server(server, tmp_path / "server"), strict, dialled) == expected


def test_each_daemon_has_a_ca_of_its_own(tmp_path: Path) -> None:
    """Another daemon's client is refused, and so is a server that poses as a client."""
    server, client = certificates.make(["localhost"])
    _, stranger = certificates.make(["localhost"])
    served = _server(server, tmp_path / "server")
    for name, identity in {"stranger": stranger, "server itself": server}.items():
        posing = certificates.Identity(client.ca, identity.certificate, identity.key)
        posing.write(tmp_path / name)
        assert _said(served, http.context(str(tmp_path / name)), "localhost") == b""
    client.write(tmp_path / "client")
    assert _said(served, http.context(str(tmp_path / "client")), "localhost") == b"hello"


def test_server_that_poses(tmp_path: Path) -> None:
    """Another daemon's server is refused, and so is a client that poses as a server."""
    server, client = certificates.make(["localhost", "client"])
    stranger, _ = certificates.make(["localhost", "client"])
    client.write(tmp_path / "client")
    for name, identity in {"stranger": stranger, "client itself": client}.items():
        posing = certificates.Identity(server.ca, identity.certificate, identity.key)
        served = _server(posing, tmp_path / name)
        assert _said(served, http.context(str(tmp_path / "client")), "client") == b""


def test_files_are_private(tmp_path: Path) -> None:
    """What is written is this user's alone, the directory and each file."""
    _, client = certificates.make(["localhost"])
    client.write(tmp_path / "tls")

    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    files = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "tls").iterdir()}
    assert files == {"ca.pem": 0o600, "cert.pem": 0o600, "key.pem": 0o600}


def test_archive() -> None:
    """What goes into a container is root's alone."""
    server, _ = certificates.make(["localhost"])
    packed = b"".join(tars.pack(server.entries("a/tls")))
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        found = [(entry.name, entry.mode, entry.uid) for entry in tar]

    assert found == [
        ("a/tls/ca.pem", 0o600, 0),
        ("a/tls/cert.pem", 0o600, 0),
        ("a/tls/key.pem", 0o600, 0),
    ]


def test_key_is_not_shown() -> None:
    """A traceback that shows an identity doesn't show its key."""
    server, _ = certificates.make(["localhost"])

    assert "PRIVATE" not in repr(server)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where certificates can't be made, the error says how to install what makes them."""
    monkeypatch.setattr(certificates, "available", lambda: False)
    with pytest.raises(ModeUnavailable) as caught:
        certificates.make(["localhost"])

    assert "The package trustme is not installed." in str(caught.value)
    assert "pip install 'pytest-dind[remote]'" in str(caught.value)
