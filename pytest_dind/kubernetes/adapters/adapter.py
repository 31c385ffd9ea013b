"""What an adapter tells of a kind of images, and what all nodes of a cluster have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any, Protocol

FAST = "fast"
FAILOVERS = ("default", FAST)
"""How soon pods of a node that is gone start elsewhere: as Kubernetes has it, or in seconds."""
LEASE_SECONDS, GRACE_SECONDS = 4, 5
"""With fast failover: how long a node's lease is, and when one without is not Ready any more."""
API_PORT = 6443
MOST_NODES = 64
"""Each node has the routes to the pods of so many."""
# Those below are the network's own.
_FIRST = 10


@dataclass(frozen=True)
class Plan:
    """What the nodes of a cluster have in common.

    Attributes:
        subnet: The subnet of the network that they are in.
        names: The names and addresses by which the API is reached from outside of that.
        token: A secret by which nodes know each other.
        failover: One of `FAILOVERS`.
        base: The directory in the daemon's container that `Adapter.importer` has filled with the
            images that nodes begin with; empty for none.
    """

    subnet: IPv4Network
    names: Sequence[str]
    token: str
    failover: str
    base: str = ""

    def ip(self, index: int) -> str:
        """The address of a node; that of index 0 is the server."""
        return str(self.subnet[_FIRST + index])

    @property
    def server(self) -> str:
        """The address of the server."""
        return self.ip(0)

    @property
    def is_fast(self) -> bool:
        """Whether failover takes seconds."""
        return self.failover == FAST


@dataclass(frozen=True)
class NodeSpec:
    """A node's container, as far as images differ.

    Attributes:
        command: The arguments of the image's entrypoint.
        environment: Its variables.
        volumes: The volumes of the cluster, and directories of the daemon's container, and where
            each is mounted; with `:ro` where it is only read.
        files: Files that are there when it starts, by path.
        in_memory: Directories that are to be in memory, besides those of all nodes.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    volumes: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    in_memory: Sequence[str] = ()


class Adapter(Protocol):
    """A kind of images that nodes are made of."""

    @property
    def kubeconfig(self) -> str:
        """The path of the administrator's kubeconfig in the server; whole once it is there."""

    def takes(self, config: Mapping[str, Any]) -> bool:
        """Whether an image is of this kind, by its config as the engine tells it."""

    def node(self, plan: Plan, index: int) -> NodeSpec:
        """The container of a node; that of index 0 is the server."""

    def importer(self, base: str) -> NodeSpec | None:
        """The container that makes what nodes begin with; None where they can't have such.

        It reads an archive of images, as `docker save` writes them, and leaves them in a directory
        of the daemon's container as nodes take them.

        Args:
            base: The directory.
        """


def entrypoint(config: Mapping[str, Any]) -> list[str]:
    """The entrypoint of an image."""
    found: list[str] = config.get("Entrypoint") or []
    return found


def is_address(name: str) -> bool:
    """Whether a name of the API is an address."""
    from ipaddress import ip_address

    try:
        ip_address(name)
    except ValueError:
        return False
    return True
