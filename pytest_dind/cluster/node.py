"""`Node`: a daemon that is a node of a swarm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..daemon.handle import Daemon
from ..engine import containers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


@dataclass(frozen=True, repr=False)
class Node(Daemon):
    """A daemon that is a node of a swarm.

    Attributes:
        node_id: Its id in the swarm, as in `docker node ls`.
        swarm_ip: Its address for the other nodes.
    """

    node_id: str = ""
    swarm_ip: str = ""

    def __repr__(self) -> str:
        return f"Node(name={self.name!r}, node_id={self.node_id!r}, mode={self.mode!r})"

    @property
    def role(self) -> str:
        """Its role now: "manager" or "worker".

        Raises:
            DaemonLost: the daemon is gone.
        """
        return "manager" if self.state().get("ControlAvailable") else "worker"

    def state(self) -> Mapping[str, Any]:
        """What the daemon itself says of its part in a swarm, as `docker info` has it.

        Raises:
            DaemonLost: the daemon is gone.
        """
        with self._connected() as client:
            found: Mapping[str, Any] = client.info()["Swarm"]
        return found

    def addresses(self) -> list[str]:
        """All addresses of its container on the outer engine; none of one that is gone."""
        details = containers.inspect(self._backend.outer(), self.id)
        networks = details["NetworkSettings"]["Networks"] if details else {}
        return [one["IPAddress"] for one in networks.values() if one.get("IPAddress")]


def node_of(daemon: Daemon, swarm_ip: str = "", node_id: str = "") -> Node:
    """The node that a daemon is, or is to be.

    Args:
        daemon: The daemon.
        swarm_ip: Its address for the other nodes.
        node_id: Its id in the swarm; empty before it has joined.
    """
    known = (daemon.record, daemon._backend, daemon._progress, daemon._inside)
    return Node(*known, node_id=node_id, swarm_ip=swarm_ip)
