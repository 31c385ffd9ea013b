"""Which containers, networks and volumes are the run's own: names are resolved to full ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..http.refusal import Refusal, missing, taken
from ..http.upstream import Upstream
from ..rules.networks import BUILT_IN
from ..rules.policy import Policy
from .run_labels import CONTAINER, NETWORK, VOLUME, RunLabels


@dataclass(frozen=True)
class Network:
    """A network that a client may name: its id and name."""

    id: str
    name: str

    @property
    def built_in(self) -> bool:
        """Whether it is one of those that every engine has."""
        return self.name in BUILT_IN


class Ownership:
    """Tells which objects of the engine are the run's own.

    An object is looked up once by the name that a client gives, and then used by its full id: by
    then, another object could have the name. Ids of objects made through the guard are known.
    """

    def __init__(self, engine: Upstream, labels: RunLabels, policy: Policy) -> None:
        self._engine = engine
        self._labels = labels
        self._policy = policy
        self._containers: set[str] = set()
        self._execs: set[str] = set()
        self._networks: set[str] = set()
        self._volumes: set[str] = set()

    def learn(self, kind: str, name: str) -> None:
        """Record an object that the run has made."""
        self._known(kind).add(name)

    def knows(self, kind: str, name: str) -> bool:
        """Whether a full id, or a volume's name, is known to be of the run's own object."""
        return name in self._known(kind)

    def _known(self, kind: str) -> set[str]:
        return {
            "container": self._containers,
            "exec": self._execs,
            "network": self._networks,
            "volume": self._volumes,
        }[kind]

    async def resolve(self, kind: str, name: str) -> str:
        """Resolve the name that a client gives to a full id, or to a volume's name.

        Raises:
            Refusal: there is no such object, or it is not the run's, which looks the same.
        """
        if not self._policy.own:
            return name
        if kind == "volume":
            # Asked each time: a volume has no id, and another one may have the name by now.
            return await self._volume(name)
        if self.knows(kind, name):
            return name
        if kind == "network":
            return (await self.network(name)).id
        if kind == "exec":
            return await self._exec(name)
        return str((await self.container(name))["Id"])

    async def container(self, name: str) -> dict[str, Any]:
        """Ask the engine for the details of a container of the run.

        Raises:
            Refusal: it does not exist, or is not the run's.
        """
        reply = await self._engine.call("GET", f"/containers/{name}/json")
        found: dict[str, Any] = reply.json() if reply.ok else {}
        if not reply.ok or not self.owns_container(found):
            raise missing("container", name)
        return found

    def owns_container(self, details: dict[str, Any]) -> bool:
        """Whether a container is the run's own, by the engine's details."""
        ours = self._labels.owns(CONTAINER, details["Config"].get("Labels"))
        if ours:
            self._containers.add(details["Id"])
        return ours or not self._policy.own

    async def network(self, name: str) -> Network:
        """Find a network of the run, or one that every engine has, by its name or id.

        Only these are searched, since names of networks are not unique: another network of the
        same name, or with an id that begins alike, must not be found.

        Raises:
            Refusal: there is no such network among these.
        """
        found = (await self._engine.call("GET", "/networks")).json()
        ours = [Network(item["Id"], item["Name"]) for item in found if self.shows_network(item)]
        for matches in (
            [net for net in ours if net.id == name],
            [net for net in ours if net.name == name],
            [net for net in ours if name and net.id.startswith(name)],
        ):
            if len(matches) == 1:
                return matches[0]
        raise missing("network", name)

    def shows_network(self, item: dict[str, Any]) -> bool:
        """Whether a client sees a network, as the engine lists it."""
        ours = self._labels.owns(NETWORK, item.get("Labels"))
        if ours:
            self._networks.add(item["Id"])
        return ours or item["Name"] in BUILT_IN or not self._policy.own

    async def learn_there(self) -> None:
        """Record the run's networks and volumes that there are, as after a restart of the guard."""
        reply = await self._engine.call("GET", "/networks")
        for item in reply.json() if reply.ok else ():
            self.shows_network(item)
        reply = await self._engine.call(
            "GET", "/volumes", {"filters": [self._labels.filters(VOLUME)]}
        )
        for item in (reply.json().get("Volumes") or ()) if reply.ok else ():
            self.shows_volume(item)

    async def _volume(self, name: str) -> str:
        reply = await self._engine.call("GET", f"/volumes/{name}")
        if not reply.ok or not self.shows_volume(reply.json()):
            raise missing("volume", name)
        return name

    def shows_volume(self, item: dict[str, Any]) -> bool:
        """Whether a client sees a volume, as the engine lists it."""
        ours = self._labels.owns(VOLUME, item.get("Labels"))
        if ours:
            self._volumes.add(item["Name"])
        return ours or not self._policy.own

    async def make_volume(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Create a volume, or take the existing one of that name: engines answer both alike.

        So there is no moment between a check and the creation in which another volume could take
        its place.

        Raises:
            Refusal: it can't be made, or the one of that name is somebody else's.
        """
        labels = {**(wanted.get("Labels") or {}), **self._labels.for_role(VOLUME)}
        reply = await self._engine.call(
            "POST", "/volumes/create", body={**wanted, "Labels": labels}
        )
        if not reply.ok:
            raise Refusal(reply.status, reply.json()["message"])
        made: dict[str, Any] = reply.json()
        if not self.shows_volume(made):
            raise taken("volume", made["Name"])
        return made

    async def _exec(self, name: str) -> str:
        reply = await self._engine.call("GET", f"/exec/{name}/json")
        if not reply.ok or not await self._is_own(str(reply.json()["ContainerID"])):
            raise missing("exec", name)
        return name

    async def _is_own(self, container: str) -> bool:
        """Whether a container is the run's own, by its full id."""
        if not self.knows("container", container):
            try:
                await self.container(container)
            except Refusal:
                return False
        return True
