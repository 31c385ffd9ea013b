"""An inventory of a daemon: its containers, networks and volumes at a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..lifetime.labels import BY

if TYPE_CHECKING:
    import docker

CONTAINER, NETWORK, VOLUME = "container", "network", "volume"
_OF_THE_ENGINE = ("bridge", "host", "none", "docker_gwbridge", "ingress")
_NAME = 20


@dataclass(frozen=True)
class Resource:
    """A container, network or volume in a daemon.

    Attributes:
        kind: One of the constants of this module.
        id: Its id; a volume's is its name.
        name: Its name.
        by: The value of the label `BY`; empty where it has none.
    """

    kind: str
    id: str
    name: str
    by: str = ""

    def __str__(self) -> str:
        # A name that the engine made up is as long as an id.
        name = self.name if len(self.name) < len(self.id) or self.id != self.name else ""
        return f"{self.kind} {name or self.id[:_NAME]}"


Resources = dict[tuple[str, str], Resource]


def take(client: docker.DockerClient) -> Resources:
    """Take the inventory, without the networks that every engine has."""
    api: Any = client.api
    found = [
        *(
            Resource(CONTAINER, item["Id"], _container_name(item), _by(item))
            for item in api.containers(all=True)
        ),
        *(
            Resource(NETWORK, item["Id"], item["Name"], _by(item))
            for item in api.networks()
            if item["Name"] not in _OF_THE_ENGINE
        ),
        *(
            Resource(VOLUME, item["Name"], item["Name"], _by(item))
            for item in api.volumes()["Volumes"] or []
        ),
    ]
    return {(one.kind, one.id): one for one in found}


def _container_name(item: dict[str, Any]) -> str:
    # One that is being removed has no name any more.
    names = item["Names"] or [item["Id"]]
    return f"{names[0].lstrip('/')} ({item['Image']}, {item['State']})"


def _by(item: dict[str, Any]) -> str:
    return str((item.get("Labels") or {}).get(BY, ""))
