"""The first process of a daemon's container."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import docker
import pytest
from docker.errors import NotFound

from conftest import NESTED_IMAGE
from pytest_dind import Daemon, DaemonExited
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime import layout, reaper

from ..support import until
from .conftest import DeriveImage, StartDaemon, Started
from .traces import Traces

# What these tests look at is a daemon of the run's own: its container, or what is in it alone.
# It sets cgroup v2 up for dockerd, and with v1 it thaws what is paused.
pytestmark = [pytest.mark.requires_isolation, pytest.mark.cgroups]

_CONTAINERS = 60


def _zombies(daemon: Daemon) -> list[str]:
    """The stat lines of processes in the container that ended and were not waited for."""
    found = daemon.exec(["sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null; true"]).stdout
    lines = found.splitlines()
    assert len(lines) > 3
    return [line for line in lines if line.rpartition(")")[2].split()[0] == "Z"]


def test_no_zombies(dind_daemon: Daemon, dind_client: docker.DockerClient) -> None:
    """Dozens of nested containers leave no zombie, though each orphans its shim."""
    host = dind_client.api.create_host_config(network_mode="none", auto_remove=True)

    def run(number: int) -> None:
        made = dind_client.api.create_container(NESTED_IMAGE, "true", host_config=host)
        dind_client.api.start(made["Id"])

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(run, range(_CONTAINERS)))) == _CONTAINERS
    until(lambda: not dind_client.api.containers(all=True), 30, "all have ended")
    until(lambda: not _zombies(dind_daemon), 20, "no zombies")


def _is_gone(started: Started) -> bool:
    try:
        return started.daemon.container is None
    except NotFound:
        return True


def test_docker_stop(start: StartDaemon) -> None:
    """`docker stop` ends dockerd in good order, nested containers included, and soon."""
    started = start()
    container = started.daemon.container
    assert container is not None
    began = time.monotonic()
    container.stop(timeout=30)

    assert time.monotonic() - began < 10
    until(lambda: _is_gone(started), 5, "the container is gone")
    assert started.daemon.exit_code() == 0
    assert "Daemon shutdown complete" in started.daemon.logs()


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_dockerd_that_ends(start: StartDaemon, traces: Traces, signal: str) -> None:
    """The container ends at once when dockerd does, with dockerd's code, and takes its volume."""
    started = start()
    container = started.daemon.container
    assert container is not None
    script = f"kill -{signal} $(cat /var/run/docker.pid)"
    container.exec_run(["sh", "-c", script], detach=True)

    until(lambda: _is_gone(started), 5, "the container is gone")
    assert started.daemon.exit_code() == {"KILL": 137, "TERM": 0}[signal]
    traces.assert_nothing_left(seconds=1)


def test_last_user(start: StartDaemon, traces: Traces) -> None:
    """A daemon ends soon after its last user let go, nested containers and all."""
    started = start()
    assert not _is_gone(started)
    started.lease.release()
    traces.assert_nothing_left(seconds=3)
    assert _is_gone(started)


def test_other_signals_end_nothing_nested(start: StartDaemon) -> None:
    """A signal that dockerd ignores, or that asks for a dump, does not end the daemon."""
    started = start()
    container = started.daemon.container
    assert container is not None
    with contextlib.closing(started.daemon.client()) as client:
        for signal in ("SIGCHLD", "SIGWINCH", "SIGPIPE"):
            container.kill(signal)
            assert client.ping()


@pytest.mark.parametrize("end", ["stop", "lease", "kill"])
def test_paused_container(start: StartDaemon, traces: Traces, engine: Engine, end: str) -> None:
    """A daemon with a paused container ends as any, however: frozen processes can't be killed."""
    started = start(load=[NESTED_IMAGE])
    with contextlib.closing(started.daemon.client()) as client:
        command = ["sleep", "600"]
        client.containers.run(NESTED_IMAGE, command, detach=True, init=True).pause()
    if end == "stop":
        started.daemon.stop()
    elif end == "lease":
        started.lease.release()
    else:
        (started.home.path / layout.ENGINE).write_text(engine.url)
        reaper.finish(started.home.path.parent)
        started.lease.release()
    traces.assert_nothing_left(10)


def _told_of(daemon: Daemon, *names: str) -> list[str]:
    """The arguments of dockerd that have one of these names."""
    said = daemon.exec(["sh", "-c", "cat /proc/$(cat /var/run/docker.pid)/cmdline"]).stdout
    assert "dockerd" in said
    return [word for word in said.split("\0") if any(name in word for name in names)]


def test_no_ipv6_rules_without_ipv6(start: StartDaemon) -> None:
    """In a container without IPv6, as on most engines, dockerd's rules for it are left out."""
    daemon = start().daemon
    has = "grep -qv ' lo$' /proc/net/if_inet6"
    expected = [] if daemon.exec(["sh", "-c", has], check=False).returncode == 0 else ["false"]

    assert _told_of(daemon, "ip6tables") == [f"--ip6tables={word}" for word in expected]


def test_ipv6_rules_as_asked_for(start: StartDaemon, derive: DeriveImage) -> None:
    """Who wants them, by an argument or by the image's own settings, has them."""
    assert _told_of(start(arg=["--ip6tables=true"]).daemon, "ip6tables") == ["--ip6tables=true"]
    settings = """mkdir -p /etc/docker; echo '{"ip6tables": true}' >/etc/docker/daemon.json"""
    assert _told_of(start(image=derive(settings)).daemon, "ip6tables") == []


def test_dockerd_that_knows_fewer_flags(start: StartDaemon, derive: DeriveImage) -> None:
    """A dockerd of before 20.10 starts without the flags that it doesn't know; others are told."""
    old = """
        real=$(command -v dockerd)
        {
            echo '#!/bin/sh'
            for flag in ip6tables host-gateway-ip; do
                echo "case \\$* in *$flag*) echo unknown flag: --$flag >&2; exit 125 ;; esac"
            done
            echo "exec $real \\"\\$@\\""
        } >/usr/local/bin/dockerd
        chmod +x /usr/local/bin/dockerd
        """
    image = derive(old)
    daemon = start(image=image).daemon
    assert _told_of(daemon, "ip6tables", "host-gateway-ip") == []
    assert _told_of(daemon, "--dns=")
    with pytest.raises(DaemonExited, match="unknown flag: --host-gateway-ip"):
        start(image=image, arg=["--host-gateway-ip=192.0.2.1"])
