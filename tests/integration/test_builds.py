"""Builds in a daemon by each way there is: its image's buildx, this machine's, the engine's API."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from conftest import NESTED_IMAGE
from pytest_dind import BuildFailed, Daemon, SettingsError
from pytest_dind.daemon import building
from pytest_dind.engine import builds

from .conftest import buildx_in

# In mode socket the guard refuses buildx.
pytestmark = pytest.mark.requires_isolation

_TAG = "built:here"
_MEGA = 1_000_000


@pytest.fixture
def no_buildx_here(
    buildx: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A machine without a docker CLI."""
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))


@pytest.fixture
def no_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a build by the engine's API."""

    def by_api(*arguments: object) -> str:
        pytest.fail("It was built by the engine's API.")

    monkeypatch.setattr(builds, "by_api", by_api)


@pytest.fixture
def in_container(
    dind_daemon: Daemon, buildx: Path, no_buildx_here: None, no_api: None
) -> Iterator[None]:
    """Buildx in the daemon's container alone."""
    with buildx_in(dind_daemon, buildx):
        yield


@pytest.fixture
def on_machine(buildx: Path, no_api: None) -> None:
    """Buildx on this machine alone."""


@pytest.fixture
def api(no_buildx_here: None) -> None:
    """No buildx anywhere."""


@pytest.fixture
def way(request: pytest.FixtureRequest) -> str:
    """The only way in which a daemon can build."""
    request.getfixturevalue(request.param)
    return str(request.param)


_each_way = pytest.mark.parametrize("way", ["in_container", "on_machine", "api"], indirect=True)
_each_buildx = pytest.mark.parametrize("way", ["in_container", "on_machine"], indirect=True)

Built = Callable[..., bytes]


@pytest.fixture
def built(dind_daemon: Daemon, dind_client: docker.DockerClient, tmp_path: Path) -> Iterator[Built]:
    """Builds `tmp_path`, and gives what the image's command writes."""

    def built(dockerfile: str, **options: object) -> bytes:
        (tmp_path / "Dockerfile").write_text(f"FROM {NESTED_IMAGE} AS base\n{dockerfile}")
        image = dind_daemon.build(tmp_path, _TAG, **options)
        assert dind_client.images.get(_TAG).id == image
        output: bytes = dind_client.containers.run(image, remove=True)
        return output

    yield built
    with contextlib.suppress(docker.errors.ImageNotFound):
        dind_client.images.remove(_TAG)


@_each_way
def test_buildkit(way: str, built: Built, dind_client: docker.DockerClient) -> None:
    """Cache mounts, heredocs, arguments, labels, hosts and targets."""
    found = built(
        "ARG MINE\n"
        "RUN --mount=type=cache,target=/c echo $MINE >/c/x && cp /c/x /\n"
        "RUN <<EOF\ngrep -c one.two /etc/hosts >>/x\nEOF\n"
        "CMD cat /x\n"
        "FROM base AS later\nRUN exit 1\n",
        buildargs={"MINE": "yes"},
        labels={"of": "mine"},
        extra_hosts={"one.two": "10.1.2.3"},
        target="base",
        platform="linux/" + dind_client.version()["Arch"],
        cache_from=[NESTED_IMAGE],
        nocache=True,
        pull=False,
        network_mode="none",
        rm=True,
    )
    assert found == b"yes\n1\n"
    assert dind_client.images.get(_TAG).labels["of"] == "mine"


@_each_way
def test_context(way: str, built: Built, tmp_path: Path) -> None:
    """`.dockerignore` leaves files out; modes and links of the others are kept."""
    (tmp_path / ".dockerignore").write_text("# left out\n*.log\n!kept.log\nsub\n")
    (tmp_path / "sub").mkdir()
    for name in ("a.log", "kept.log", "b c.txt", "sub/x"):
        (tmp_path / name).write_text(name)
    (tmp_path / "b c.txt").chmod(0o741)
    (tmp_path / "link").symlink_to("b c.txt")
    found = built('COPY . /all\nCMD cd /all && ls && stat -c %a "b c.txt" && readlink link\n')
    assert found.decode().splitlines() == [
        *("Dockerfile", "b c.txt", "kept.log", "link", "741", "b c.txt")
    ]


@_each_way
def test_dockerfile_elsewhere(
    way: str, dind_daemon: Daemon, dind_client: docker.DockerClient, tmp_path: Path
) -> None:
    """A Dockerfile outside of the directory, or deep in it, with a `.dockerignore` of its own."""
    context = tmp_path / "context"
    (context / "sub").mkdir(parents=True)
    for name in ("one", "two"):
        (context / name).write_text(name)
    text = f"FROM {NESTED_IMAGE}\nCOPY . /all\nCMD ls /all\n"
    for file in (tmp_path / "Outer", context / "sub" / "Inner"):
        file.write_text(text)
        file.with_name(f"{file.name}.dockerignore").write_text("two\nsub\n")
        dind_daemon.build(context, _TAG, dockerfile=os.path.relpath(file, context))
        found = dind_client.containers.run(_TAG, remove=True).split()
        dind_client.images.remove(_TAG)
        assert b"one" in found
        assert b"two" not in found


@_each_way
def test_step_that_fails(way: str, built: Built) -> None:
    """The error has the last lines of the step, and its exit code."""
    with pytest.raises(BuildFailed) as caught:
        built("RUN echo so far; exit 3\n")

    text = str(caught.value)
    assert "The image 'built:here' cannot be built of" in text
    assert "so far" in text
    assert "exit code: 3" in text
    assert "Mend the step that the lines end with." in text


@pytest.mark.parametrize("way", ["in_container", "api"], indirect=True)
def test_big_context(way: str, built: Built, tmp_path: Path) -> None:
    """A directory is never whole in memory, nor in a file of this machine."""
    with (tmp_path / "big").open("wb") as file:
        file.truncate(60 * _MEGA)
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    assert built("COPY big /\nCMD stat -c %s /big\n") == b"60000000\n"
    assert _peak() - before < 30 * _MEGA


def _peak() -> int:
    """The most memory that this process has had."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@_each_buildx
def test_secrets(way: str, built: Built, dind_daemon: Daemon, tmp_path: Path) -> None:
    """A step mounts secrets, given as contents or as a file; none stays anywhere."""
    (tmp_path / "token").write_text("of a file")
    (tmp_path / ".dockerignore").write_text("token\n")
    mounts = "--mount=type=secret,id=one --mount=type=secret,id=two"
    found = built(
        f"RUN {mounts} cat /run/secrets/one /run/secrets/two >/seen\nCMD cat /seen\n",
        secrets={"one": b"of bytes, ", "two": tmp_path / "token"},
    )
    assert found == b"of bytes, of a file"
    assert "secrets" not in dind_daemon.exec(["ls", "/run"]).stdout


def test_secrets_without_buildx(api: None, built: Built) -> None:
    """Without buildx secrets can't be handed over, which is an error that says what has it."""
    with pytest.raises(SettingsError, match="They take buildx") as caught:
        built("RUN true\n", secrets={"one": b"x"})
    assert "docker:dind does" in str(caught.value)


def test_older_builder(built: Built, dind_client: docker.DockerClient) -> None:
    """What only the older builder can do is still done: a network of the daemon's, limits."""
    network = dind_client.networks.create("for-a-build")
    try:
        found = built(
            "RUN ip link show eth0 | grep -c link/ether >/x\nCMD cat /x\n",
            network_mode="for-a-build",
            container_limits={"memory": 100 * _MEGA},
        )
    finally:
        network.remove()
    assert found == b"1\n"
    with pytest.raises(BuildFailed, match=r"BuildKit can't do network_mode='container:none'"):
        built("RUN --mount=type=cache,target=/c true\n", network_mode="container:none")


def test_no_buildx_is_found_out_once(
    api: None, built: Built, dind_daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon whose image has no buildx is asked for it by its first build alone."""
    building._without.clear()
    built("CMD true\n")
    assert building._without == {dind_daemon.id}
    monkeypatch.setattr(Daemon, "_run", pytest.fail)
    built("CMD true\n")
