"""What the doctor makes of an engine's own answers, recorded from engines of many kinds."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_dind.doctor import outer
from pytest_dind.doctor.outer import Outer, Space

_HOST = "unix:///run/docker.sock"
_GIB = 2**30

# The parts of `GET /version` and `GET /info` that are looked at.
_DOCKER_20 = (
    {"Components": [{"Name": "Engine"}], "ApiVersion": "1.41", "MinAPIVersion": "1.12"},
    {
        "ServerVersion": "20.10.24+dfsg1",
        "Driver": "overlay2",
        "DriverStatus": [
            ["Backing Filesystem", "extfs"],
            ["Supports d_type", "true"],
            ["Native Overlay Diff", "true"],
            ["userxattr", "false"],
        ],
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "1",
        "KernelVersion": "6.1.0-18-amd64",
        "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
        "DockerRootDir": "/var/lib/docker",
        "Name": "host",
        "Runtimes": {
            "io.containerd.runc.v2": {"path": "runc"},
            "io.containerd.runtime.v1.linux": {"path": "runc"},
            "runc": {"path": "runc"},
        },
        "DefaultRuntime": "runc",
        "SecurityOptions": ["name=seccomp,profile=default"],
    },
)
_DOCKER_28 = (
    {
        "Components": [{"Name": "Engine"}],
        "ApiVersion": "1.51",
        "MinAPIVersion": "1.24",
        "Platform": {"Name": "Docker Engine - Community"},
    },
    {
        "ServerVersion": "28.5.2",
        "Driver": "overlayfs",
        "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
        "CgroupDriver": "systemd",
        "CgroupVersion": "2",
        "KernelVersion": "6.8.0-87-generic",
        "OperatingSystem": "Ubuntu 24.04.3 LTS",
        "DockerRootDir": "/var/lib/docker",
        "Name": "host",
        "Runtimes": {
            "io.containerd.runc.v2": {"path": "runc", "status": {}},
            "runc": {"path": "runc", "status": {}},
            "sysbox-runc": {"path": "/usr/bin/sysbox-runc"},
        },
        "DefaultRuntime": "runc",
        "SecurityOptions": [
            "name=apparmor",
            "name=seccomp,profile=builtin",
            "name=cgroupns",
        ],
    },
)
_PODMAN = (
    {
        "Components": [{"Name": "Podman Engine"}, {"Name": "Conmon"}],
        "ApiVersion": "1.41",
        "MinAPIVersion": "1.24",
    },
    {
        "ServerVersion": "4.9.4",
        "Driver": "overlay",
        "DriverStatus": [["Backing Filesystem", "xfs"], ["Supports volatile", "true"]],
        "CgroupDriver": "systemd",
        "CgroupVersion": "2",
        "KernelVersion": "6.8.5-301.fc40.x86_64",
        "OperatingSystem": "fedora",
        "DockerRootDir": "/home/me/.local/share/containers/storage",
        "Name": "host",
        "Runtimes": {"crun": {"path": "/usr/bin/crun"}, "runc": {"path": ""}},
        "DefaultRuntime": "crun",
        "SecurityOptions": ["name=seccomp,profile=default", "name=rootless", "name=selinux"],
    },
)
# Before Docker 20.10, and before names had the form name=…: almost nothing is said.
_OLD = (
    {"ApiVersion": "1.25", "Version": "1.13.1"},
    {"ServerVersion": "1.13.1", "Driver": "devicemapper", "SecurityOptions": ["seccomp"]},
)


def _described(
    answers: tuple[Mapping[str, Any], Mapping[str, Any]], *options: str, **info: Any
) -> Outer:
    version, recorded = answers
    told = {**recorded, **info}
    if options:
        told["SecurityOptions"] = list(options)
    return outer.describe(_HOST, version, told)


def test_docker_20() -> None:
    """Docker 20.10 of Debian, on cgroup v1."""
    found = _described(_DOCKER_20)

    assert (found.product, found.version) == ("", "20.10.24+dfsg1")
    assert (found.api_min, found.api_max) == ("1.12", "1.41")
    assert (found.storage_driver, found.backing_filesystem) == ("overlay2", "extfs")
    assert (found.cgroup_version, found.cgroup_driver) == (1, "cgroupfs")
    assert (found.rootless, found.userns_remap, found.security) == (False, False, ("seccomp",))
    assert found.default_runtime == "runc"
    assert "io.containerd.runc.v2" in found.runtimes
    assert not found.local


def test_docker_28() -> None:
    """Docker 28.5 with the containerd image store, Sysbox registered, on Ubuntu's AppArmor."""
    found = _described(_DOCKER_28)

    assert (found.version, found.api_min, found.api_max) == ("28.5.2", "1.24", "1.51")
    assert (found.storage_driver, found.backing_filesystem) == ("overlayfs", "")
    assert (found.cgroup_version, found.cgroup_driver) == (2, "systemd")
    assert found.security == ("apparmor", "seccomp")
    assert "sysbox-runc" in found.runtimes


def test_rootless() -> None:
    """A rootless engine says so among its security options."""
    found = _described(_DOCKER_28, "name=seccomp,profile=builtin", "name=rootless", "name=cgroupns")

    assert (found.rootless, found.userns_remap) == (True, False)


def test_userns_remap() -> None:
    """An engine that remaps user namespaces says so among its security options."""
    found = _described(_DOCKER_20, "name=seccomp,profile=default", "name=userns")

    assert (found.rootless, found.userns_remap) == (False, True)


def test_selinux() -> None:
    """An engine that labels its containers says so among its security options."""
    found = _described(_DOCKER_20, "name=seccomp,profile=default", "name=selinux")

    assert found.security == ("seccomp", "selinux")


def test_podman() -> None:
    """Podman's answers are understood, and it is called by its name."""
    found = _described(_PODMAN)

    assert (found.product, found.version) == ("Podman Engine", "4.9.4")
    assert (found.rootless, found.security) == (True, ("seccomp", "selinux"))
    assert (found.storage_driver, found.backing_filesystem) == ("overlay", "xfs")
    assert found.runtimes == ("crun", "runc")


def test_old_engine() -> None:
    """An engine that says almost nothing of itself is described all the same."""
    found = _described(_OLD)

    assert (found.version, found.api_min, found.api_max) == ("1.13.1", "", "1.25")
    assert (found.cgroup_version, found.security, found.runtimes) == (1, ("seccomp",), ())


def test_answers_without_content() -> None:
    """Null for a list, as engines in Go give it, is an empty one."""
    found = _described(_DOCKER_20, SecurityOptions=None, DriverStatus=None, Runtimes=None)

    assert (found.security, found.backing_filesystem, found.runtimes) == ((), "", ())


@pytest.mark.parametrize(
    ("host", "name", "release", "expected"),
    [
        ("unix:///run/docker.sock", "same", "same", True),
        ("unix:///run/docker.sock", "docker-desktop", "same", False),
        ("unix:///run/docker.sock", "same", "5.15.49-linuxkit", False),
        ("tcp://127.0.0.1:2375", "same", "same", False),
    ],
)
def test_local(host: str, name: str, release: str, expected: bool) -> None:
    """An engine is taken for this machine's where socket, host name and kernel all are."""
    version, info = _DOCKER_20
    told = {
        **info,
        "Name": socket.gethostname() if name == "same" else name,
        "KernelVersion": os.uname().release if release == "same" else release,
    }

    assert outer.describe(host, version, told).local == expected


def test_space_here(tmp_path: Path) -> None:
    """On this machine the room is that of the engine's directory."""
    found = _described(
        _DOCKER_20,
        Name=socket.gethostname(),
        KernelVersion=os.uname().release,
        DockerRootDir=str(tmp_path),
    )
    space = outer.space(found, "")

    assert space is not None
    assert space.total == shutil.disk_usage(tmp_path).total
    assert 0 <= space.free <= space.total


def test_space_elsewhere() -> None:
    """Elsewhere it is what a container's df says."""
    df = (
        "Filesystem     1024-blocks     Used Available Capacity Mounted on\n"
        "overlay          10485760 1048576   8388608      11% /"
    )
    assert outer.space(_described(_DOCKER_20), df) == Space(free=8 * _GIB, total=10 * _GIB)


@pytest.mark.parametrize("df", ["", "df: /: Permission denied", "overlay - - - - /"])
def test_space_unknown(df: str) -> None:
    """Without a good answer the room is not known."""
    assert outer.space(_described(_DOCKER_20), df) is None


def test_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxies of daemons are told without passwords, and those that are left out with why."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert outer.proxied({}, []) == ()
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://localhost:9")
    monkeypatch.setenv("NO_PROXY", "e.example")
    used, without, left_out = outer.proxied({}, [])

    assert used == "HTTPS_PROXY: proxy:3128"
    assert without.startswith("NO_PROXY: e.example,localhost,127.0.0.0/8,")
    assert without.endswith(", and the run's daemons")
    assert left_out.startswith("HTTP_PROXY of this process's environment, localhost:9, is left out")
