"""A real registry over TLS, under an authority of its own that daemons are told to trust."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import docker.errors
import pytest
import trustme

from conftest import NESTED_IMAGE
from pytest_dind import Daemon
from pytest_dind.engine.engine import Engine

from .conftest import StartDaemon
from .registries import registry

# The outer engine, in mode socket, is not the run's to tell whom to trust.
pytestmark = pytest.mark.requires_isolation


class _Registry(NamedTuple):
    """A registry: its host and port, and the file of its authority."""

    host: str
    ca: Path


@pytest.fixture(scope="module")
def trusted(dind_daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Registry]:
    """A registry at the address of a daemon's container, where no daemon makes an exception."""
    authority, path = trustme.CA(), tmp_path_factory.mktemp("ca") / "ca.pem"
    address = dind_daemon.record.address
    made = authority.issue_cert(address)
    authority.cert_pem.write_to_path(path)
    files = {
        "cert.pem": b"".join(blob.bytes() for blob in made.cert_chain_pems).decode(),
        "key.pem": made.private_key_pem.bytes().decode(),
    }
    tls = {"tls": {"certificate": "cert.pem", "key": "key.pem"}}
    with registry(dind_daemon, 5443, files=files, http=tls):
        yield _Registry(f"{address}:5443", path)


def _push(daemon: Daemon, name: str) -> None:
    with closing(daemon.client()) as client:
        client.images.get(NESTED_IMAGE).tag(name)
        for line in client.images.push(name, stream=True, decode=True):
            assert "error" not in line, line
        client.images.remove(name)


def test_not_trusted(dind_daemon: Daemon, trusted: _Registry) -> None:
    """Without being told, a daemon refuses the registry."""
    with (
        closing(dind_daemon.client()) as client,
        pytest.raises(docker.errors.APIError, match="signed by unknown authority"),
    ):
        client.images.pull(f"{trusted.host}/mine", tag="latest")


def test_registry(start: StartDaemon, trusted: _Registry, tmp_path: Path) -> None:
    """A registry whose authority is named for it is pushed to, pulled from, and built from."""
    daemon = start(ca=[f"{trusted.host}={trusted.ca}"], load=[NESTED_IMAGE]).daemon
    name = f"{trusted.host}/mine"
    _push(daemon, name)
    with closing(daemon.client()) as client:
        client.images.pull(name, tag="latest")
        client.images.remove(name)
    (tmp_path / "Dockerfile").write_text(f"FROM {name}\nRUN true\n")
    cli = shutil.which("docker")
    assert cli is not None, "docker is missing: python tools/engine.py programs"
    subprocess.run(
        [cli, "buildx", "build", "--load", "--tag=built", str(tmp_path)],
        env=daemon.environment(),
        check=True,
        capture_output=True,
    )


def test_mirror(start: StartDaemon, trusted: _Registry) -> None:
    """An authority for all is a mirror's too; those of the image stay."""
    daemon = start(
        ca=[str(trusted.ca)], registry_mirror=[f"https://{trusted.host}"], load=[NESTED_IMAGE]
    ).daemon
    _push(daemon, f"{trusted.host}/mine/mirrored")
    with closing(daemon.client()) as client:
        assert client.images.pull("mine/mirrored", tag="latest").tags
    directories = daemon.exec(["sh", "-c", "echo $SSL_CERT_DIR"]).stdout
    assert directories.startswith("/etc/ssl/certs:")


def test_engine_elsewhere(engine: Engine, start: StartDaemon, trusted: _Registry) -> None:
    """A daemon on an engine that shares no directory has them as well."""
    engine.mark_unshared("a test says so")
    try:
        daemon = start(ca=[f"{trusted.host}={trusted.ca}"]).daemon
    finally:
        engine.mark_unshared("")
    assert daemon.record.certificates
    with (
        closing(daemon.client()) as client,
        pytest.raises(docker.errors.APIError, match=r"not found|manifest unknown"),
    ):
        client.images.pull(f"{trusted.host}/no-such", tag="latest")
