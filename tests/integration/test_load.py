"""Images brought into a daemon that runs: from the outer engine, from archives, by a build."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import docker
import pytest

from conftest import NESTED_IMAGE
from pytest_dind import BuildFailed, Daemon, ImageUnavailable
from pytest_dind.engine.engine import Engine


@pytest.fixture
def names(engine: Engine, dind_client: docker.DockerClient) -> Iterator[list[str]]:
    """Two images of the outer engine that the daemon does not have by these names."""
    image = engine.client.images.get(NESTED_IMAGE)
    made = [f"pytest-dind/load:{uuid4().hex}" for _ in range(2)]
    for name in made:
        image.tag(name)
    yield made
    for client in (engine.client, dind_client):
        for name in made:
            with contextlib.suppress(docker.errors.ImageNotFound):
                client.images.remove(name)


def test_several_at_once(
    dind_daemon: Daemon, dind_client: docker.DockerClient, names: list[str]
) -> None:
    """Several images of the outer engine come by name, and run."""
    assert sorted(dind_daemon.load(*names)) == sorted(names)
    for name in names:
        assert dind_client.containers.run(name, ["echo", "hi"], remove=True) == b"hi\n"


def test_by_id(dind_daemon: Daemon, engine: Engine, dind_client: docker.DockerClient) -> None:
    """An image given by its id comes without a name, and is told by the id it has there."""
    (loaded,) = dind_daemon.load(str(engine.client.images.get(NESTED_IMAGE).id))

    assert dind_client.images.get(loaded).id == loaded


@pytest.mark.requires_isolation
def test_archive(
    dind_daemon: Daemon,
    engine: Engine,
    dind_client: docker.DockerClient,
    names: list[str],
    tmp_path: Path,
) -> None:
    """An archive that docker save made is loaded, given as a path or as text."""
    archive = tmp_path / "images.tar"
    with archive.open("wb") as file:
        for chunk in engine.client.images.get(names[0]).save(named=names[0]):
            file.write(chunk)

    assert dind_daemon.load(archive) == [names[0]]
    dind_client.images.remove(names[0])
    assert dind_daemon.load(str(archive), names[1]) == [names[1], names[0]]


def test_archive_of_something_else(dind_daemon: Daemon, tmp_path: Path) -> None:
    """A file that is no archive of images is an error that says so, and what makes one."""
    (tmp_path / "no.tar").write_bytes(b"no archive at all" * 100)
    # Refused long before its end.
    (tmp_path / "long.tar").write_bytes(b"no archive at all" * 3_000_000)
    for name in ("no", "long"):
        with pytest.raises(ImageUnavailable, match=f"{name}.tar' could not be loaded") as caught:
            dind_daemon.load(tmp_path / f"{name}.tar")
        assert "one of docker export is no image" in str(caught.value)
    with pytest.raises(ImageUnavailable, match=r"missing\.tar' cannot be read"):
        dind_daemon.load(tmp_path / "missing.tar")


@pytest.mark.requires_isolation
def test_archive_for_another_platform(
    dind_daemon: Daemon, dind_client: docker.DockerClient, tmp_path: Path
) -> None:
    """An archive without the daemon's platform is an error that names both; nothing of it stays."""
    before = {image.id for image in dind_client.images.list()}
    own = dind_client.version()["Arch"]
    other = "s390x" if own != "s390x" else "amd64"
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    dind_daemon.build(tmp_path, "load/foreign:1", platform=f"linux/{other}")
    with (tmp_path / "foreign.tar").open("wb") as file:
        for chunk in dind_client.images.get("load/foreign:1").save(named=True):
            file.write(chunk)
    dind_client.images.remove("load/foreign:1")
    with pytest.raises(ImageUnavailable) as caught:
        dind_daemon.load(tmp_path / "foreign.tar")

    text = str(caught.value)
    assert f"is for another platform than the daemon's, linux/{own}." in text
    assert f"load/foreign:1: linux/{other}" in text
    assert f"docker pull --platform linux/{own}" in text
    assert {image.id for image in dind_client.images.list()} == before


def test_image_that_is_missing_everywhere(dind_daemon: Daemon) -> None:
    """An image that neither the engine nor a registry has is an error, soon."""
    began = time.monotonic()
    # No registry answers at this address.
    with pytest.raises(ImageUnavailable, match="is not on the outer engine and cannot be pulled"):
        dind_daemon.load("127.0.0.1:1/no/such:image")
    assert time.monotonic() - began < 30


def test_build(dind_daemon: Daemon, dind_client: docker.DockerClient, tmp_path: Path) -> None:
    """A Dockerfile's directory becomes an image of the daemon, its files and arguments in it."""
    (tmp_path / "Dockerfile").write_text(
        f"FROM {NESTED_IMAGE}\nARG MINE\nRUN echo $MINE >/mine\nCOPY file /file\n"
    )
    (tmp_path / "file").write_text("from outside\n")
    image = dind_daemon.build(tmp_path, "built:here", buildargs={"MINE": "yes"})
    try:
        found = dind_client.containers.run("built:here", ["cat", "/mine", "/file"], remove=True)
        assert found == b"yes\nfrom outside\n"
        assert dind_client.images.get("built:here").id == image
    finally:
        dind_client.images.remove("built:here")


def test_build_that_fails(dind_daemon: Daemon, tmp_path: Path) -> None:
    """A step that fails is an error with the last lines of the build."""
    (tmp_path / "Dockerfile").write_text(f"FROM {NESTED_IMAGE}\nRUN echo so far; exit 3\n")
    with pytest.raises(BuildFailed) as caught:
        dind_daemon.build(tmp_path, "built:never")

    assert "The image 'built:never' cannot be built of" in str(caught.value)
    assert "so far" in str(caught.value)
    assert "exit code: 3" in str(caught.value)


def test_build_of_no_dockerfile(dind_daemon: Daemon, tmp_path: Path) -> None:
    """A directory without a Dockerfile, or with a broken one, is an error that names it."""
    with pytest.raises(BuildFailed, match=r"There is no file .*Dockerfile"):
        dind_daemon.build(tmp_path, "built:never")
    (tmp_path / "Dockerfile").write_text("NONSENSE\n")
    with pytest.raises(BuildFailed, match="NONSENSE"):
        dind_daemon.build(tmp_path, "built:never")
