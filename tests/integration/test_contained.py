"""Mode socket beside tests in a container: the engine has other files than they have."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import pytest_dind
from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind.daemon.handle import Daemon
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime import labels
from pytest_dind.runs import sweep

from ..support import until
from .guarded import ENGINE
from .traces import FOREIGN, Traces

_SECONDS = 60
# What a test must not see, and what it may.
_SECRET, _SHARED = "of the machine alone", "of both"


class Contained:
    """A container with this project's interpreter, the engine's socket, and files of a room.

    Attributes:
        id: Its id.
        files: The directory that it has as /project.
        temp: The directory that it has as /temp.
        trap: A path that leads to a secret on the machine, and is a directory in the container.
    """

    def __init__(self, engine: Engine, room: Path, *binds: str) -> None:
        self._api: Any = engine.client.api
        self.files, self.temp, secret = room / "p", room / "t", room / "secret"
        self.trap = room / "trap"
        for path in (self.files, self.temp, secret):
            path.mkdir()
        (self.files / "pytest.ini").touch()
        (self.files / "hello").write_text(_SHARED)
        (self.files / "out").symlink_to(secret)
        (secret / "hello").write_text(_SECRET)
        self.trap.symlink_to(secret)
        roots = {sys.base_prefix, sys.prefix, str(Path(pytest_dind.__file__).parents[1])}
        # Not by its id, which is its host name else.
        self.id = self._api.create_container(
            DAEMON_IMAGE,
            name=f"{FOREIGN}tests-{uuid4().hex[:8]}",
            hostname="tests",
            entrypoint=["sh", "-c", f"mkdir -p {self.trap} && exec sleep 600"],
            host_config=self._api.create_host_config(
                init=True,
                binds=[
                    *(f"{root}:{root}:ro" for root in sorted(roots)),
                    f"{ENGINE}:{ENGINE}",
                    *binds,
                    f"{self.files}:/project",
                    f"{self.temp}:/temp",
                ],
            ),
        )["Id"]
        self._api.start(self.id)

    def write(self, source: str) -> None:
        """Put a test module into the project."""
        (self.files / "test_it.py").write_text(textwrap.dedent(source))

    def run(self, *options: str, code: int = 0, **env: str) -> str:
        """Run the project's tests in the container; returns what they print."""
        command = self._command(*options, **env)
        output: str = self._api.exec_start(command).decode()
        assert self._api.exec_inspect(command)["ExitCode"] == code, output
        return output

    def begin(self, *options: str) -> None:
        """Start the project's tests in the container."""
        self._api.exec_start(self._command(*options), detach=True)

    def _command(self, *options: str, **env: str) -> str:
        words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly"]
        words += ["-p", "no:hypothesispytest", "--dind-mode=socket", *options]
        made: dict[str, str] = self._api.exec_create(
            self.id,
            words,
            workdir="/project",
            environment={"PYTHONDONTWRITEBYTECODE": "1", **env},
        )
        return made["Id"]

    def kill(self) -> None:
        """Kill it, as a CI service does whose job is cancelled."""
        self._api.kill(self.id)

    def end(self) -> None:
        """Remove it."""
        self._api.remove_container(self.id, force=True, v=True)


@pytest.fixture
def contained(engine: Engine, room: Path, traces: Traces) -> Iterator[Contained]:
    """The container of some tests."""
    contained = Contained(engine, room)
    yield contained
    contained.end()


def test_files(contained: Contained) -> None:
    """What is mounted is bound by the engine's path, and no other; `exec` needs a temp dir."""
    contained.write(
        f"""
        import os
        import docker, pytest
        from pytest_dind import ModeUnavailable

        def read(client, bind):
            command = ["sh", "-c", "cp /in/hello /in/copy"]
            client.containers.run("{NESTED_IMAGE}", command, volumes=[bind], remove=True)
            return open("copy").read()

        def test_binds(dind_client):
            assert read(dind_client, "/project:/in") == "{_SHARED}"
            os.remove("copy")
            for path in ("{contained.trap}", "/project/out", "/tmp"):
                os.makedirs(os.path.realpath(path), exist_ok=True)
                with pytest.raises(docker.errors.APIError, match="in the tests' container alone"):
                    read(dind_client, f"{{path}}:/in")
            with pytest.raises(docker.errors.APIError, match="allow=socket"):
                read(dind_client, "{ENGINE}:/in")

        def test_exec(dind_daemon):
            if "TMPDIR" in os.environ:
                command = ["sh", "-c", "docker ps -q | wc -l; cat /project/hello"]
                assert dind_daemon.exec(command).stdout.split("\\n") == ["0", "{_SHARED}"]
            else:
                with pytest.raises(ModeUnavailable, match="exec can't be had") as caught:
                    dind_daemon.exec(["true"])
                assert "TMPDIR=/tmp/dind" in str(caught.value)
        """
    )
    image = f"--dind-image={DAEMON_IMAGE}"
    assert "2 passed" in contained.run(image)
    assert "2 passed" in contained.run(image, TMPDIR="/temp")


def test_address(contained: Contained) -> None:
    """A published port is reached where the engine's machine is, seen from the tests' container."""
    contained.write(
        f"""
        from urllib.request import urlopen

        def test_it(dind_daemon, dind_client):
            serve = ["sh", "-c", "echo served >/index.html; exec httpd -f -p 80 -h /"]
            ports = {{"80/tcp": None}}
            server = dind_client.containers.run("{NESTED_IMAGE}", serve, detach=True, ports=ports)
            host, port = dind_daemon.address(server, 80)
            assert urlopen(f"http://{{host}}:{{port}}/", timeout=20).read() == b"served\\n"
        """
    )
    assert "1 passed" in contained.run(f"--dind-image={DAEMON_IMAGE}")


def test_that_is_killed(contained: Contained, engine: Engine, room: Path) -> None:
    """What the tests have made is left behind with their container, and goes, whoever looks."""
    contained.write(
        f"""
        import signal

        def test_it(dind_client):
            dind_client.networks.create("foreign-{room.name}")
            dind_client.volumes.create("{room.name}")
            made = dind_client.containers.run("{NESTED_IMAGE}", ["sleep", "600"], detach=True)
            made.commit("{room.name}")
            open("made", "w").close()
            signal.pause()
        """
    )
    base = room / "runs"
    base.mkdir(mode=0o700)
    contained.begin()
    until((contained.files / "made").exists, _SECONDS, "the tests have made all")

    def uses() -> list[str]:
        return [
            entry.use
            for entry in sweep.entries(engine, base)
            if entry.container == contained.id and entry.guarded
        ]

    assert uses() == [sweep.UNKNOWN]
    contained.kill()
    assert uses() == [sweep.STALE]
    sweep.sweep(base, engine, thorough=True)
    filters = {"label": f"{labels.CONTAINER}={contained.id}"}
    api = engine.client.api
    left = [
        *api.containers(all=True, filters=filters),
        *api.networks(filters=filters),
        *(api.volumes(filters=filters)["Volumes"] or []),
        *api.images(all=True, filters=filters),
    ]
    assert left == []


def test_engine_that_does_not_know_the_container(
    dind_daemon: Daemon, engine: Engine, room: Path, traces: Traces
) -> None:
    """Another engine, which can't be shown to have the same files, gets no guard."""
    socket = dind_daemon.host.removeprefix("unix://")
    contained = Contained(engine, room, f"{socket}:/other.sock")
    try:
        contained.write("def test_it(dind_client): pass")
        url, image = "--dind-host=unix:///other.sock", f"--dind-image={NESTED_IMAGE}"
        output = contained.run(url, image, code=1)
    finally:
        contained.end()

    cause = "the tests run in a container that the engine does not know, and whose directories"
    assert f"ModeUnavailable: Mode socket is not available: {cause}" in output
