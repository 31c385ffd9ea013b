"""What everybody uses works with each version of Docker as the daemon."""

from __future__ import annotations

import contextlib
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from conftest import NESTED_IMAGE
from pytest_dind import Daemon, Settings
from pytest_dind.engine import versions
from pytest_dind.engine.engine import Engine
from pytest_dind.errors import BuildFailed
from pytest_dind.runs.factory import Factory

from ..support import until

_SERVER = "mkdir /www && echo served >/www/index.html && exec httpd -f -p 80 -h /www"


@contextlib.contextmanager
def _server(client: docker.DockerClient, port: int | None) -> Iterator[Container]:
    """A nested container with a web server, on a port of its daemon."""
    command = ["sh", "-c", _SERVER]
    container = client.containers.run(NESTED_IMAGE, command, ports={"80/tcp": port}, detach=True)
    try:
        yield container
    finally:
        container.remove(force=True)


def _got(host: str, port: int) -> str:
    def answer() -> str:
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/", timeout=5) as got:
                return str(got.read().decode())
        except (urllib.error.URLError, OSError):
            return ""

    return until(answer, 20, f"the server on port {port} answers")


def test_version(
    dind_daemon: Daemon, dind_client: docker.DockerClient, dind_config: Settings
) -> None:
    """The daemon is of the version that its image's tag names, and its API is one that is known."""
    tag = dind_config.image.rpartition(":")[2].removesuffix("-dind")
    if tag[0].isdigit():
        assert dind_daemon.version.startswith(f"{tag}.")
    assert versions.unread(dind_client.api.api_version) == ""


def _has_containerd_store(client: docker.DockerClient) -> bool:
    return "io.containerd" in str(client.info()["DriverStatus"])


def test_images_from_the_start(
    dind_daemon: Daemon, dind_client: docker.DockerClient, pinned: str
) -> None:
    """What --dind-load names is there, by its tag and by its digest; more can be loaded.

    By its tag alone where a daemon with containerd's store has it from an engine without.
    """
    with contextlib.closing(Engine()) as engine:
        differ = _has_containerd_store(dind_client) and not _has_containerd_store(engine.client)
    for name in (NESTED_IMAGE, pinned.partition("@")[0] if differ else pinned):
        assert dind_client.containers.run(name, ["echo", "hi"], remove=True) == b"hi\n"
    dind_client.images.remove(NESTED_IMAGE, force=True)
    (loaded,) = dind_daemon.load(NESTED_IMAGE)
    assert loaded in dind_client.images.get(NESTED_IMAGE).tags


def test_build(dind_daemon: Daemon, dind_client: docker.DockerClient, tmp_path: Path) -> None:
    """A build is BuildKit's, which alone has mounts in its steps; one that fails says why."""
    (tmp_path / "Dockerfile").write_text(
        f"FROM {NESTED_IMAGE}\nRUN --mount=type=tmpfs,target=/scratch echo built >/made\n"
    )
    dind_daemon.build(tmp_path, "made:1")
    assert dind_client.containers.run("made:1", ["cat", "/made"], remove=True) == b"built\n"
    (tmp_path / "Dockerfile").write_text(f"FROM {NESTED_IMAGE}\nRUN echo why; exit 3\n")
    with pytest.raises(BuildFailed, match="why"):
        dind_daemon.build(tmp_path, "made:2")


def test_address(dind_daemon: Daemon, dind_client: docker.DockerClient) -> None:
    """A published port is reached where `address` says."""
    with _server(dind_client, None) as container:
        assert _got(*dind_daemon.address(container, 80)) == "served\n"


def test_forwarder(dind_client: docker.DockerClient) -> None:
    """A published port is opened on this machine's own loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with _server(dind_client, port):
        assert _got("127.0.0.1", port) == "served\n"


@pytest.mark.usefixtures("dind_daemon")
def test_another_daemon(dind_factory: Factory) -> None:
    """A second daemon has its images from the warm store, and keeps what it has over a restart."""
    daemon = dind_factory("second")
    with contextlib.closing(daemon.client()) as client:
        assert client.containers.run(NESTED_IMAGE, ["echo", "hi"], remove=True) == b"hi\n"
        client.volumes.create("kept")
        daemon.restart()
        assert [one.name for one in client.volumes.list()] == ["kept"]
        assert client.containers.run(NESTED_IMAGE, ["echo", "hi"], remove=True) == b"hi\n"
    daemon.stop()
