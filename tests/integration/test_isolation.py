"""What is between a daemon, the machine, and its other users."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import time
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import docker
import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import Daemon
from pytest_dind.engine import images
from pytest_dind.engine.engine import Engine

from .conftest import StartDaemon
from .projects import Project

# A daemon has a view of its own of the control groups, and one in it a view within that.
pytestmark = pytest.mark.cgroups


def _socket(daemon: Daemon) -> Path:
    return Path(daemon.host.removeprefix("unix://"))


def test_socket_is_private(dind_daemon: Daemon) -> None:
    """The daemon's socket is in a directory that only its user may enter, and so up to the base."""
    path = _socket(dind_daemon)
    assert stat.S_ISSOCK(path.stat().st_mode)
    for directory in (path.parent, path.parent.parent, path.parent.parent.parent):
        found = directory.lstat()
        assert stat.filemode(found.st_mode) == "drwx------", directory
        assert found.st_uid == os.getuid()
    assert path.parent.parent.parent.name == f"pytest-dind-{os.getuid()}"
    assert not stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO


def test_user_who_is_not_root(project: Project, engine: Engine) -> None:
    """A test process of a user without name and rights has a daemon too, with all that is in it."""
    project.write(
        f"""
        import os, subprocess, urllib.request

        def test_it(dind_client, dind_daemon, dind_env):
            assert os.getuid()
            out = dind_client.containers.run("{NESTED_IMAGE}", "echo hi", remove=True)
            assert out == b"hi\\n"
            command = ["docker", "run", "--rm", "{NESTED_IMAGE}", "echo", "hi"]
            assert dind_daemon.exec(command).stdout == "hi\\n"
            done = subprocess.run(command, env=dind_env, capture_output=True, check=True)
            assert done.stdout == b"hi\\n"
            # The log of mode socket is its guard's, which has refused nothing yet.
            assert "API listen on" in dind_daemon.logs() or dind_daemon.mode == "socket"
        """
    )
    group = Path(engine.url.removeprefix("unix://")).stat().st_gid
    output = project.run(
        f"--dind-host={engine.url}",
        f"--dind-load={NESTED_IMAGE}",
        before=project.as_user(group),
    )

    assert "1 passed" in output


@pytest.mark.requires_isolation
def test_socket_of_another_group(project: Project, engine: Engine) -> None:
    """A socket that this user may not use is told of at once, not when the time to start is up."""
    project.write("def test_it(dind_client): pass")
    group = Path(engine.url.removeprefix("unix://")).stat().st_gid
    before = project.as_user(group)
    if not before:
        pytest.skip("to be another user takes root")
    began = time.monotonic()
    output = project.run(f"--dind-host={engine.url}", "--dind-arg=--group=0", before=before, code=1)

    assert time.monotonic() - began < 30
    assert "docker.sock is not this user's to use" in output
    assert "Leave out a --dind-arg that gives the socket to another group." in output


@pytest.mark.requires_isolation
def test_no_tcp(start: StartDaemon) -> None:
    """A daemon listens on no TCP port, of whatever address."""
    found = start().daemon.exec(["cat", "/proc/net/tcp", "/proc/net/tcp6"]).stdout
    rows = [line.split() for line in found.splitlines()]

    assert [row[0] for row in rows].count("sl") == 2, "both files were read"
    # The fourth column is the state; 0A is LISTEN (proc(5), include/net/tcp_states.h).
    assert not [row[1] for row in rows if row[3] == "0A"]


@pytest.mark.requires_isolation
def test_data_root_is_a_volume(dind_daemon: Daemon, dind_client: docker.DockerClient) -> None:
    """The data-root is on a volume, not on the container's overlay: no layer is copied whole."""
    root = dind_client.info()["DockerRootDir"]
    rows = map(str.split, dind_daemon.exec(["cat", "/proc/mounts"]).stdout.splitlines())
    kinds = [row[2] for row in rows if row[1] == root]
    container = dind_daemon.container
    assert container is not None
    mounts = [m for m in container.attrs["Mounts"] if m["Destination"] == root]

    assert kinds
    assert "overlay" not in kinds
    assert [mount["Type"] for mount in mounts] == ["volume"]
    assert dind_client.info()["Driver"] not in ("vfs", "native")


def _subnets(networks: Iterable[Mapping[str, Any]]) -> list[IPv4Network | IPv6Network]:
    return [
        ip_network(entry["Subnet"], strict=False)
        for network in networks
        for entry in (network["IPAM"] or {}).get("Config") or []
    ]


def _assert_apart(*levels: list[IPv4Network | IPv6Network]) -> None:
    for index, level in enumerate(levels):
        assert level
        for outer in levels[:index]:
            assert not [
                (one, other)
                for one in level
                for other in outer
                if one.version == other.version and one.overlaps(other)
            ]


@pytest.mark.requires_isolation
def test_networks_do_not_collide(dind_client: docker.DockerClient, engine: Engine) -> None:
    """The daemon's bridge and further networks are apart from the outer engine's."""
    made = [dind_client.networks.create(f"net{number}") for number in range(3)]
    try:
        _assert_apart(_subnets(engine.client.api.networks()), _subnets(dind_client.api.networks()))
    finally:
        for network in made:
            network.remove()


@pytest.mark.requires_isolation
def test_nested_container_reaches_the_outer_network(
    dind_client: docker.DockerClient, dind_daemon: Daemon
) -> None:
    """A nested container reaches the outer engine's bridge, through the daemon's container."""
    container = dind_daemon.container
    assert container is not None
    gateway = container.attrs["NetworkSettings"]["Networks"]["bridge"]["Gateway"]
    out = dind_client.containers.run(
        NESTED_IMAGE, ["ping", "-c", "1", "-W", "5", gateway], remove=True
    )

    assert b"1 packets received" in out


@pytest.mark.dind_modes("dind")
def test_daemon_in_a_daemon(start: StartDaemon, project: Project, engine: Engine) -> None:
    """A daemon serves as outer engine where it sees the temp dir: networks of all three differ.

    It gives its containers IPv6, so that the inner daemon has its rules for that.
    """
    outer = start(arg=["--ipv6", "--fixed-cidr-v6=fd00:213::/64"])
    temp = outer.shared_temp_dir()
    project.write(
        f"""
        import json, os

        def test_it(dind_client, dind_daemon):
            with open("networks.json", "w") as file:
                json.dump(dind_client.api.networks(), file)
            assert dind_client.info()["Driver"] != "vfs"
            out = dind_client.containers.run("{NESTED_IMAGE}", "echo hi", remove=True)
            assert out == b"hi\\n"
            command = ["docker", "run", "--rm", "{NESTED_IMAGE}", "echo", "hi"]
            assert dind_daemon.exec(command).stdout == "hi\\n"
            look = ["sh", "-c", "cat /proc/$(cat /var/run/docker.pid)/cmdline"]
            if os.path.exists("/proc/net/if_inet6"):
                assert "ip6tables" not in dind_daemon.exec(look).stdout
        """
    )
    with contextlib.closing(outer.daemon.client()) as client:
        images.ImageSource(engine.client, print).load(client, [DAEMON_IMAGE, NESTED_IMAGE])
        project.run(
            f"--dind-host={outer.daemon.host}",
            f"--dind-load={NESTED_IMAGE}",
            env={"TMPDIR": temp},
        )
        inside = json.loads((project.path / "networks.json").read_text())
        _assert_apart(
            _subnets(engine.client.api.networks()),
            _subnets(client.api.networks()),
            _subnets(inside),
        )
        assert client.api.containers(all=True) == []
        dangling = client.api.volumes(filters={"dangling": True})["Volumes"] or []
        assert [v["Name"] for v in dangling if v["Name"] != "pytest-dind-cache"] == []
    assert not [path for path in Path(temp).glob("pytest-dind-*/*") if path.is_dir()]


@pytest.mark.requires_isolation
def test_own_bridge(start: StartDaemon) -> None:
    """A bridge address of the user's own replaces the plugin's."""
    daemon = start(arg=["--bip=10.249.0.1/24"]).daemon
    with contextlib.closing(daemon.client()) as client:
        (bridge,) = client.api.networks(names=["bridge"])

    assert [entry["Subnet"] for entry in bridge["IPAM"]["Config"]] == ["10.249.0.0/24"]


@pytest.mark.requires_isolation
def test_no_bridge(start: StartDaemon) -> None:
    """A user may do without a bridge: dockerd takes `--bridge=none` with what the plugin adds."""
    daemon = start(arg=["--bridge=none"]).daemon
    with contextlib.closing(daemon.client()) as client:
        assert [n["Name"] for n in client.api.networks() if n["Driver"] == "bridge"] == []


@pytest.mark.requires_isolation
def test_user_arguments(start: StartDaemon) -> None:
    """Arguments of the user's own reach dockerd, each as one."""
    daemon = start(arg=["--label=some=a b", "--debug"]).daemon
    with contextlib.closing(daemon.client()) as client:
        info = client.info()

    assert info["Labels"] == ["some=a b"]
    assert info["Debug"] is True
    assert re.search(r"level=debug", daemon.logs())
