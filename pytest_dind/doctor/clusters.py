"""Kubernetes clusters: whether the engine's machine can have their nodes, and how many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..backends.probe import CGROUPS, CONNTRACK, CONTROLLERS, INOTIFY
from ..runs.clusters import AGENT_BYTES, SERVER_BYTES

# kubelet ends without one of these.
_NEEDED = ("cpu", "cpuset", "memory", "pids")
# What a server, an agent, and their daemon have of inotify's instances, of which a user may have so
# many on a machine. Counted on a cluster of three nodes.
_SERVER_INSTANCES, _AGENT_INSTANCES, _DAEMON_INSTANCES = 17, 9, 6
_PLENTY = 512


@dataclass(frozen=True)
class Clusters:
    """What the engine's machine has for nodes of Kubernetes.

    Attributes:
        lacks: What it lacks, each by its cause; empty where nothing is known to be missing.
        cgroup_version: The version of control groups, by which the kubelet goes.
        memory_nodes: For how many nodes there is memory; None: not known.
        inotify_instances: How many instances of inotify a user may have; None: not known.
        inotify_nodes: For how many nodes these are enough, where nothing else has any; None
            likewise.
    """

    lacks: tuple[str, ...]
    cgroup_version: int
    memory_nodes: int | None
    inotify_instances: int | None
    inotify_nodes: int | None

    @property
    def is_tight(self) -> bool:
        """Whether the limit of inotify is one that a few clusters reach."""
        return self.inotify_instances is not None and self.inotify_instances < _PLENTY


def judge(seen: Mapping[str, str], cgroup_version: int, memory: int | None) -> Clusters:
    """Return what a machine has for nodes.

    Args:
        seen: The contents of its files, as a privileged container has them; empty: not tried.
        cgroup_version: The version of control groups.
        memory: The bytes of memory that nodes may have; None: not known.
    """
    lacks = []
    controllers = _controllers(seen, cgroup_version)
    missing = [name for name in _NEEDED if controllers is not None and name not in controllers]
    if missing:
        lacks.append(f"the control groups {', '.join(missing)}")
    if seen and CONNTRACK not in seen:
        lacks.append("connection tracking (the kernel module nf_conntrack)")
    by_memory = None if memory is None else _nodes(memory, SERVER_BYTES, AGENT_BYTES)
    if by_memory == 0:
        lacks.append(f"memory: {SERVER_BYTES >> 20} MB for a server")
    limit = seen.get(INOTIFY, "")
    instances = int(limit) if limit.isdigit() else None
    by_instances = None
    if instances is not None:
        by_instances = _nodes(instances - _DAEMON_INSTANCES, _SERVER_INSTANCES, _AGENT_INSTANCES)
        if by_instances == 0:
            lacks.append(f"instances of inotify: {instances} a user")
    return Clusters(tuple(lacks), cgroup_version, by_memory, instances, by_instances)


def _controllers(seen: Mapping[str, str], version: int) -> set[str] | None:
    """The controllers of control groups that are enabled; None: not known."""
    if version != 1:
        return set(seen[CONTROLLERS].split()) if CONTROLLERS in seen else None
    if CGROUPS not in seen:
        return None
    rows = [line.split() for line in seen[CGROUPS].splitlines() if not line.startswith("#")]
    return {row[0] for row in rows if len(row) == 4 and row[3] == "1"}


def _nodes(room: int, server: int, agent: int) -> int:
    return 0 if room < server else (room - server) // agent + 1
