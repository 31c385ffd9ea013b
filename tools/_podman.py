"""Running a command on Podman: its service in namespaces of its own, and all it keeps elsewhere.

The machine's engine, and a Podman that it has, stay as they are. The command runs in the same
namespaces, where the addresses of containers are reachable. The way out to the world is not.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import _images
import _packages
import docker
from _cgroup2 import VIEW, clean, environment_for, remove_containers, run_inside, started
from _connection import client_for
from _console import Problem, say
from _daemon import Places, program

# runc, since crun 1.8 wants more rights than a machine may have (RLIMIT_MEMLOCK).
PACKAGES = ("podman", "runc", "netavark", "aardvark-dns", "catatonit", "iptables")
NETAVARK = [Path("/usr/lib/podman/netavark"), Path("/usr/libexec/podman/netavark")]
# Of the newest Podman, in a root directory of its own, and what a user without root needs besides.
ROOT_PACKAGES = (*PACKAGES, "ca-certificates", "nftables", "passt", "uidmap")
# Where root's containers are when Podman is told no other parent; a user has a group of his own.
CGROUP_PARENT = "libpod_parent"
USER_PARENT = "pytest-dind-podman"
CONTAINERS = """\
[containers]
# A cgroup v2 view beside v1 lacks the controller.
pids_limit = 0
# Else those of a build have more than a machine may give.
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "netavark"
network_config_dir = "{directory}/networks"
"""
STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{directory}/data"
runroot = "{directory}/run"
"""


def run(command: Sequence[str], machine: docker.DockerClient | None, directory: Path) -> int:
    """Run a command on Podman; give its exit status.

    Args:
        command: what to run, with DOCKER_HOST set to Podman's service.
        machine: the machine's engine, to copy the images from, if there is one.
        directory: where to keep Podman's files meanwhile.
    """
    if os.geteuid() != 0:
        raise Problem(
            "can't make a Podman for the command",
            "that takes mount and network namespaces, and this user is not root",
            "run this as root",
        )
    if program("podman") is None or not any(map(Path.exists, NETAVARK)):
        install()
    with service(directory) as (places, pid):
        client = client_for(places.host)
        try:
            if machine is not None:
                _images.copy(machine, client)
            _images.ensure(client)
            say(f"Podman {client.version()['Version']} at {places.host}")
            return run_inside(pid, command, environment_for(places.host))
        finally:
            remove_containers(client)
            client.close()


def install() -> None:
    """Install what the service needs."""
    _packages.require_installable()
    _packages.update()
    _packages.install(*PACKAGES)


@contextlib.contextmanager
def service(
    directory: Path, options: Sequence[str] = (), user: Sequence[str] = ()
) -> Iterator[tuple[Places, int]]:
    """Have Podman's service in namespaces of its own; nothing of it is left afterwards.

    Args:
        directory: Where its files are meanwhile.
        options: What else is its own, besides a view of cgroup v2, as `_cgroup2_init.py` has it.
        user: The command that makes it another user's than root's, if it is.

    Yields:
        Where its files are, and the pid of the first process in its namespaces.
    """
    places = Places(directory, f"unix://{directory}/podman.sock")
    remove = [directory / name for name in ("data", "run", "networks", "home")]
    clean(*remove)  # what a killed run has left
    directory.mkdir(parents=True, exist_ok=True)
    settings = {"CONTAINERS_CONF": CONTAINERS, "CONTAINERS_STORAGE_CONF": STORAGE}
    variables = []
    for name, text in settings.items():
        file = directory / f"{name.lower()}.conf"
        file.write_text(text.format(directory=directory))
        variables.append(f"{name}={file}")
    podman = [*user, "env", *variables, "podman", "system", "service", "--time=0", places.host]
    parent = USER_PARENT if user else CGROUP_PARENT
    with started("Podman", podman, parent, places, remove, [VIEW, *options]) as first:
        yield places, first
