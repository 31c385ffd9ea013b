"""Mode sysbox, on real Sysbox: what isolates its daemons, and that all else is as in mode dind."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, ContainerError

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import Daemon, Settings
from pytest_dind.engine import images
from pytest_dind.engine.engine import Engine
from pytest_dind.kubernetes import boxes
from pytest_dind.lifetime import labels
from pytest_dind.runs.run import Run

from ..support import until
from .conftest import StartDaemon
from .projects import Project
from .traces import Traces, created

# The image with another in it takes seconds to make: one worker has all that use it.
pytestmark = [pytest.mark.requires_sysbox, pytest.mark.xdist_group("sysbox")]

_RUNTIME = "sysbox-runc"


def _with_nested(daemon: Daemon, engine: Engine) -> docker.DockerClient:
    """A client on a daemon that has the nested image."""
    client = daemon.client()
    images.ImageSource(engine.client, print).load(client, [NESTED_IMAGE])
    return client


@pytest.fixture
def nested(start: StartDaemon, engine: Engine) -> Iterator[docker.DockerClient]:
    """A daemon of the test's own, with the nested image in it."""
    with contextlib.closing(_with_nested(start().daemon, engine)) as client:
        yield client


def _uid_map(text: str | bytes) -> tuple[int, int]:
    """The first line of a uid_map: the first id inside, and outside."""
    inside, outside, _ = text.split()[:3]
    return int(inside), int(outside)


def test_container(start: StartDaemon) -> None:
    """The container is under Sysbox's runtime, without privilege, capabilities or devices."""
    daemon = start().daemon
    container = daemon.container
    assert container is not None
    host = container.attrs["HostConfig"]

    assert daemon.mode == "sysbox"
    assert host["Runtime"] == _RUNTIME
    assert host["Privileged"] is False
    for name in ("CapAdd", "Devices", "DeviceRequests", "SecurityOpt", "VolumesFrom", "Sysctls"):
        assert not host.get(name), name
    for name in ("NetworkMode", "PidMode", "IpcMode", "UTSMode", "UsernsMode"):
        assert host.get(name, "") != "host", name
    assert container.labels[labels.MODE] == "sysbox"


def test_namespaces(start: StartDaemon) -> None:
    """The container shares none of its namespaces with the engine's machine."""
    kinds = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]
    command = ["readlink", *(f"/proc/self/ns/{kind}" for kind in kinds)]
    inside = start().daemon.exec(command).stdout.split()
    outside = [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds]

    assert [text.partition(":")[0] for text in inside] == kinds
    assert not set(inside) & set(outside)


def test_user_namespace(start: StartDaemon, engine: Engine) -> None:
    """Root in the container is a user without rights on the engine's machine; the handle says so.

    Seen from inside by its uid_map, and from outside by the owners of its processes.
    """
    daemon = start().daemon
    inside, outside = _uid_map(daemon.exec(["cat", "/proc/self/uid_map"]).stdout)
    processes = engine.client.api.top(daemon.id, ps_args="-eo pid,uid")["Processes"]

    assert daemon.user_namespace
    assert (inside, outside > 0) == (0, True)
    assert daemon.exec(["id", "-u"]).stdout == "0\n"
    assert len(processes) > 1
    assert {int(uid) for _, uid in processes} == {outside}


def test_emulated_files(start: StartDaemon) -> None:
    """Files of /proc and /sys are those that sysbox-fs emulates."""
    assert "sysboxfs" in start().daemon.exec(["cat", "/proc/self/mountinfo"]).stdout


def test_variables_of_sysbox(project: Project) -> None:
    """Variables of the host that would change how Sysbox makes the container stay outside."""
    project.write(
        """
        import os

        def test_it(dind_daemon):
            assert os.environ["SYSBOX_SYSCONT_MODE"] == "FALSE"
            inside = dind_daemon.container.attrs["Config"]["Env"] or []
            inside += dind_daemon.exec(["cat", "/proc/1/environ"]).stdout.split(chr(0))
            inside += dind_daemon.exec(["env"]).stdout.splitlines()
            assert not [text for text in inside if text.startswith("SYSBOX_")]
            # With this one, /proc/sys would not be emulated.
            assert "sysboxfs" in dind_daemon.exec(["cat", "/proc/mounts"]).stdout
        """
    )
    variables = {"SYSBOX_SYSCONT_MODE": "FALSE", "SYSBOX_IGNORE_SYSFS_CHOWN": "TRUE"}
    assert "1 passed" in project.run(env=variables)


def test_nested_container(nested: docker.DockerClient) -> None:
    """A nested container runs, in the same user namespace."""
    out = nested.containers.run(NESTED_IMAGE, ["cat", "/proc/self/uid_map"], remove=True)

    assert _uid_map(out)[1] > 0


def test_file_of_a_nested_container(nested: docker.DockerClient) -> None:
    """A file comes into a container that does not run yet, though Sysbox has no fchmodat2."""
    container = nested.containers.create(NESTED_IMAGE, ["cat", "/etc/some/file"])
    boxes.put(nested, str(container.id), "/etc/some/file", b"here\n")
    container.start()
    assert container.wait()["StatusCode"] == 0
    assert container.logs() == b"here\n"


def test_privilege_of_a_nested_container_ends_at_the_daemon(nested: docker.DockerClient) -> None:
    """A nested container with all privilege sees the daemon's processes, and gets no device."""
    how: dict[str, Any] = {"privileged": True, "pid_mode": "host", "remove": True}
    look = ["sh", "-c", "cat /proc/self/uid_map; cat /proc/1/cmdline"]
    out = nested.containers.run(NESTED_IMAGE, look, **how)

    assert _uid_map(out)[1] > 0
    assert b"dockerd" in out, "process 1 is the first of the daemon's container"
    with pytest.raises(ContainerError, match="Operation not permitted"):
        nested.containers.run(NESTED_IMAGE, ["mknod", "/disk", "b", "8", "0"], **how)


@pytest.mark.parametrize("namespace", ["pid_mode", "network_mode", "ipc_mode"])
def test_no_namespace_of_the_host(engine: Engine, mode: str, namespace: str) -> None:
    """What the plugin does without, Sysbox would refuse: a namespace of the host's."""
    how: dict[str, Any] = {namespace: "host"}
    container = engine.client.containers.create(
        DAEMON_IMAGE, ["true"], entrypoint=[], runtime=_RUNTIME, **how
    )
    try:
        with pytest.raises(APIError, match="can't share"):
            container.start()
    finally:
        container.remove(force=True, v=True)


def test_privilege_of_the_host(engine: Engine, mode: str) -> None:
    """A container under Sysbox that asks for privilege is refused, or gets it in its namespace."""
    container = engine.client.containers.create(
        DAEMON_IMAGE,
        ["cat", "/proc/self/uid_map"],
        entrypoint=[],
        runtime=_RUNTIME,
        privileged=True,
    )
    try:
        with contextlib.suppress(APIError):
            container.start()
            assert container.wait()["StatusCode"] == 0
            assert _uid_map(container.logs())[1] > 0
    finally:
        container.remove(force=True, v=True)


def test_published_port(nested: docker.DockerClient, start: StartDaemon, engine: Engine) -> None:
    """The daemon's rules for published ports are its own: two daemons publish the same port."""
    with contextlib.closing(_with_nested(start().daemon, engine)) as other:
        for client in (nested, other):
            container = client.containers.run(
                NESTED_IMAGE, ["sleep", "60"], ports={"80/tcp": 8080}, detach=True
            )
            container.reload()
            (binding, *_) = container.ports["80/tcp"] or [{}]
            assert binding["HostPort"] == "8080"


def test_two_daemons_at_once(start: StartDaemon, engine: Engine) -> None:
    """Two daemons share nothing: images, containers, data-roots."""
    first, second = start().daemon, start().daemon
    with (
        contextlib.closing(_with_nested(first, engine)) as one,
        contextlib.closing(second.client()) as two,
    ):
        one.containers.run(NESTED_IMAGE, ["sleep", "60"], detach=True)
        assert two.images.list() == []
        assert two.containers.list(all=True) == []
        assert one.info()["ID"] != two.info()["ID"]
    sources = [
        {mount["Source"] for mount in daemon.container.attrs["Mounts"]}
        for daemon in (first, second)
        if daemon.container is not None
    ]
    assert len(sources) == 2
    assert not sources[0] & sources[1]


def test_load_and_build(project: Project, tmp_path: Path) -> None:
    """Images of the outer engine are in the daemon, run there, and are built upon."""
    (tmp_path / "Dockerfile").write_text(f"FROM {NESTED_IMAGE}\nRUN id -u >/made\nCMD cat /made\n")
    project.write(
        f"""
        def test_it(dind_client):
            image, _ = dind_client.images.build(path={str(tmp_path)!r}, rm=True)
            assert dind_client.containers.run(image.id, remove=True) == b"0\\n"
        """
    )
    assert "1 passed" in project.run("--dind-load", NESTED_IMAGE)


_WAITS = """
    import signal

    def test_it(dind_daemon):
        open("in-a-test", "w").close()
        signal.pause()
"""


def test_lease(project: Project, traces: Traces) -> None:
    """A run that is killed takes its daemon with it, soon, volume and directory too."""
    project.write(_WAITS)
    process = project.start()
    project.reached("in-a-test", process)
    assert len(traces.containers()) == 1
    os.killpg(process.pid, signal.SIGKILL)

    traces.assert_nothing_left(seconds=5)


@pytest.mark.parametrize(("asked", "probes"), [("sysbox", 0), ("auto", 1)])
def test_lease_under_xdist(
    project: Project, traces: Traces, engine: Engine, room: Path, asked: str, probes: int
) -> None:
    """Workers share one daemon, and its proof, or the one look of `auto`; killed, none is left."""
    project.write(
        """
        import pytest, signal

        @pytest.mark.parametrize("n", range(2))
        def test_it(dind_daemon, dind_mode, worker_id, n):
            assert dind_mode == "sysbox"
            open(f"in-a-test-{worker_id}", "w").close()
            signal.pause()
        """
    )
    began = time.time()
    process = project.start("-n2", f"--dind-mode={asked}")
    for worker in ("gw0", "gw1"):
        project.reached(f"in-a-test-{worker}", process)

    assert len(traces.containers()) == 1
    assert created(engine.client, room, "daemon", began) == 1
    assert created(engine.client, room, "probe", began) == probes
    os.killpg(process.pid, signal.SIGKILL)
    traces.assert_nothing_left(seconds=5)


def test_killed_while_it_looks(project: Project, traces: Traces) -> None:
    """A run that is killed while it finds out whether Sysbox works leaves nothing either."""
    project.write("def test_it(dind_mode): pass")
    process = project.start("--dind-mode=auto")
    until(traces.containers, 30, "the container to look into is there")
    os.killpg(process.pid, signal.SIGKILL)

    traces.assert_nothing_left(seconds=5)


_DIES_BETWEEN_CREATE_AND_START = """
import os, signal, sys
from pathlib import Path
from docker.api.client import APIClient
from pytest_dind import Settings
from pytest_dind.runs.run import Run

APIClient.start = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL)
Run.join(Path(sys.argv[1]), print).choice(Settings(mode="sysbox", image=sys.argv[2]))
"""


def test_worker_killed_while_it_looks(
    room: Path, mode: str, traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker that is killed leaves of its look goes with the run, which goes on."""
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    run = Run.begin(print)
    try:
        worker: list[str] = [sys.executable, "-c", _DIES_BETWEEN_CREATE_AND_START]
        worker += [str(run.path), DAEMON_IMAGE]
        assert subprocess.run(worker, check=False).returncode == -signal.SIGKILL
        assert len(traces.containers()) == 1
        assert run.choice(Settings(mode=mode, image=DAEMON_IMAGE)).mode == "sysbox"
    finally:
        run.close()

    traces.assert_nothing_left(seconds=1)


def test_marker(project: Project) -> None:
    """A test that requires Sysbox runs, as one that requires isolation; also with `auto`."""
    project.write(
        """
        import pytest

        @pytest.mark.requires_sysbox
        @pytest.mark.requires_isolation
        @pytest.mark.dind_modes("sysbox")
        @pytest.mark.requires_engine(">=20")
        def test_it(dind_daemon):
            assert dind_daemon.user_namespace
        @pytest.mark.dind_modes("dind")
        def test_other(): raise SystemExit
        """
    )
    for mode in ("sysbox", "auto"):
        output = project.run(f"--dind-mode={mode}", "--dind-require=sysbox,isolation", "-rs")
        assert "1 passed, 1 skipped" in output
        assert "dind_modes: the mode in force is sysbox. To run it, use --dind-mode=dind" in output


@pytest.fixture(scope="module")
def preloaded(engine: Engine) -> Iterator[str]:
    """An image with a nested image, made by `docker commit` of a Sysbox container.

    Its data-root is no volume, as it is in an image that names one: that would not be committed.
    """
    api: Any = engine.client.api
    name = f"pytest-dind/preloaded:{os.getpid()}"
    with contextlib.ExitStack() as ends:
        plain = engine.client.containers.create(DAEMON_IMAGE)
        ends.callback(plain.remove, force=True, v=True)
        flat = f"{name}-flat"
        api.import_image_from_stream(
            _Stream(plain.export()), repository=name.partition(":")[0], tag=flat.partition(":")[2]
        )
        ends.callback(engine.client.images.remove, flat, force=True)
        container = engine.client.containers.run(
            flat, ["dockerd"], runtime=_RUNTIME, network_disabled=True, detach=True
        )
        ends.callback(container.remove, force=True, v=True)
        until(lambda: container.exec_run(["docker", "version"]).exit_code == 0, 60, "it is ready")
        archive = b"".join(engine.client.images.get(NESTED_IMAGE).save(named=NESTED_IMAGE))
        docker_load = ["docker", "exec", "-i", str(container.id), "docker", "load"]
        subprocess.run(docker_load, input=archive, check=True, capture_output=True)
        container.commit(*name.split(":"))
        ends.callback(engine.client.images.remove, name, force=True)
        yield name


class _Stream(io.RawIOBase):
    """Chunks as a file."""

    def __init__(self, chunks: Any) -> None:
        self._chunks = iter(chunks)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return next(self._chunks, b"")


@pytest.mark.parametrize("of", ["sysbox", "dind"])
def test_preloaded_images(start: StartDaemon, preloaded: str, of: str) -> None:
    """An image made of a Sysbox container has that one's images when it starts, in both modes."""
    for _ in range(2):
        started = start(image=preloaded, mode=of)
        with contextlib.closing(started.daemon.client()) as client:
            assert [image.tags for image in client.images.list()] == [[NESTED_IMAGE]]
            assert client.containers.run(NESTED_IMAGE, ["echo", "hi"], remove=True) == b"hi\n"
            client.images.remove(NESTED_IMAGE)
