"""The vocabulary of `--dind-guard-allow`: each word opens one of the things the guard refuses."""

from __future__ import annotations

from collections.abc import Mapping

BUILDKIT = "buildkit-grpc"

EXACT: Mapping[str, str] = {
    "privileged": "privileged containers and commands in them",
    "host-net": "the host's network namespace",
    "host-pid": "the host's pid namespace",
    "host-ipc": "the host's ipc namespace",
    "host-uts": "the host's uts namespace",
    "host-userns": "the host's user namespace",
    "host-cgroupns": "the host's cgroup namespace",
    "socket": "binds of the engine's own socket",
    "unmasked-paths": "containers without the usual masked and read-only paths",
    "cgroup-parent": "a cgroup parent of one's own",
    "device-rules": "device cgroup rules and device requests, such as GPUs",
    "annotations": "annotations, which a runtime may take for orders",
    "volume-options": "volumes that mount something else than a directory or a tmpfs",
    BUILDKIT: "BuildKit's own API, as buildx uses it; its images get no labels",
    "pull": "pulls of images that the host has already, which move the host's tags",
    "swarm": "swarm, services, nodes, tasks, secrets and configs",
    "plugins": "plugins of the engine",
}
"""The words that stand alone, each with the thing that it allows."""

WITH_VALUE: Mapping[str, str] = {
    "bind": "/path: binds of this host path and what is below it",
    "cap": "NAME: a capability beyond the usual ones",
    "device": "/dev/name: a device of the host",
    "join": "CONTAINER: the namespaces of a container that is not this run's",
    "log-driver": "NAME: a logging driver",
    "network-driver": "NAME: a network driver, such as macvlan",
    "network-option": "KEY: an option of the bridge driver",
    "propagation": "MODE: mounts that propagate to the host",
    "runtime": "NAME: another runtime",
    "security-opt": "VALUE: a security option, such as seccomp=unconfined",
    "sysctl": "KEY: a kernel parameter",
    "volume-driver": "NAME: a volume driver",
}
"""The words that take a value after a colon, each with its value and the thing that it allows."""


def is_known(text: str) -> bool:
    """Tell whether a text is an allowance."""
    kind, colon, value = text.partition(":")
    if kind == "bind" and not value.startswith("/"):
        return False
    return (kind in WITH_VALUE and bool(value)) if colon else text in EXACT


def valid() -> list[str]:
    """Return all allowances, with placeholders for values, for an error's text."""
    placeholders = [f"{kind}:{text.partition(':')[0]}" for kind, text in WITH_VALUE.items()]
    return sorted([*EXACT, *placeholders])
