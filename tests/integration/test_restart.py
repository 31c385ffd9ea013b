"""A daemon that restarts, and one that is stopped for good."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import docker
import pytest

from conftest import NESTED_IMAGE
from pytest_dind import DaemonLost
from pytest_dind.daemon.loss import lost
from pytest_dind.engine import http
from pytest_dind.engine.engine import Engine

from ..support import until
from .conftest import StartDaemon
from .traces import Traces

# What these tests look at is a daemon of the run's own: its container, or what is in it alone.
# A container that starts again has its groups already; memory and CPUs are theirs to limit.
pytestmark = [pytest.mark.requires_isolation, pytest.mark.cgroups]


def test_restart(start: StartDaemon) -> None:
    """Containers with a restart policy, volumes and images survive; handle and clients stay."""
    daemon = start(load=[NESTED_IMAGE]).daemon
    with contextlib.closing(daemon.client()) as client:
        engine_id, container = client.info()["ID"], daemon.id
        client.volumes.create("kept")
        server = ["sh", "-c", "date +%s%N >/kept/at; exec sleep 600"]
        policies: dict[str, Any] = {"again": {"Name": "always"}, "ended": {"Name": "no"}}
        for name, policy in policies.items():
            client.containers.run(
                NESTED_IMAGE,
                server,
                name=name,
                detach=True,
                init=True,
                volumes=["kept:/kept"],
                restart_policy=policy,
            )
        daemon.restart()

        assert (client.info()["ID"], daemon.id) == (engine_id, container)
        until(
            lambda: client.containers.get("again").attrs["State"]["Pid"] > 0,
            10,
            "the container with a restart policy runs again",
        )
        assert client.containers.get("ended").status == "exited"
        assert [volume.name for volume in client.volumes.list()] == ["kept"]
        assert client.containers.run(NESTED_IMAGE, ["echo", "hi"], remove=True) == b"hi\n"
        daemon.restart()
        assert client.ping()
    assert lost(daemon.record, daemon._backend) is None


def test_lease_after_a_restart(start: StartDaemon, traces: Traces) -> None:
    """A daemon that was restarted still ends with its last user."""
    started = start()
    started.daemon.restart()
    started.lease.release()
    traces.assert_nothing_left()


def test_stop(start: StartDaemon, traces: Traces, tmp_path: Path) -> None:
    """Stopping is final, and again is fine; what needs the daemon then says that it is gone."""
    daemon = start().daemon
    daemon.stop()
    daemon.stop()
    traces.assert_nothing_left()
    with pytest.raises(DaemonLost):
        daemon.exec(["true"])
    with pytest.raises(DaemonLost):
        daemon.restart()
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    archive = tmp_path / "some.tar"
    archive.write_bytes(b"as good as any")
    for call in (
        lambda: daemon.address("web", 80),
        lambda: daemon.nested_address("web"),
        lambda: daemon.load(NESTED_IMAGE),
        lambda: daemon.load(archive),
        lambda: daemon.build(tmp_path, "some:tag"),
    ):
        with pytest.raises(DaemonLost, match="is gone"):
            call()
    assert not http.is_served(daemon.host)
    assert lost(daemon.record, daemon._backend) is not None


@pytest.fixture
def _limits(engine: Engine) -> None:
    """An engine whose kernel lets it limit memory and CPUs: not each cgroup v2 view has those."""
    info = engine.client.info()
    if not (info["MemoryLimit"] and info["CpuCfsQuota"]):
        pytest.skip("this engine's cgroups have no memory or CPU controller")


@pytest.mark.usefixtures("_limits")
def test_limits(start: StartDaemon) -> None:
    """The limits are the container's."""
    container = start(memory="600m", cpus="1.5").daemon.container
    assert container is not None
    config = container.attrs["HostConfig"]
    assert (config["Memory"], config["NanoCpus"]) == (600 * 1024**2, 1_500_000_000)


@pytest.mark.usefixtures("_limits")
def test_more_memory_than_there_is(start: StartDaemon) -> None:
    """What needs more memory than the daemon's container may have is killed: exit code 137."""
    daemon = start(memory="700m", load=[NESTED_IMAGE]).daemon
    greedy = ["sh", "-c", "exec tail /dev/zero"]
    with (
        contextlib.closing(daemon.client()) as client,
        pytest.raises(docker.errors.ContainerError) as caught,
    ):
        client.containers.run(NESTED_IMAGE, greedy, remove=True)
    assert caught.value.exit_status == 137
