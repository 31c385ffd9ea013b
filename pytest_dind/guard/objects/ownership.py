"""What is this run's: names and ids, resolved to the very object before anything is done to it."""

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
    """A network that may be named."""

    id: str
    name: str

    @property
    def built_in(self) -> bool:
        """Whether every engine has it."""
        return self.name in BUILT_IN


class Ownership:
    """Which objects of the engine are this run's.

    What a client names is looked up by the name that it gave, and from then on by the full id that
    came of it: nothing else can be under the name by then. Ids that were learned when an object was
    made are known without asking.
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
        """Take note of what this run has made."""
        self._known(kind).add(name)

    def knows(self, kind: str, name: str) -> bool:
        """Whether this is the full id, or the volume's name, of what this run has made."""
        return name in self._known(kind)

    def _known(self, kind: str) -> set[str]:
        return {
            "container": self._containers,
            "exec": self._execs,
            "network": self._networks,
            "volume": self._volumes,
        }[kind]

    async def resolve(self, kind: str, name: str) -> str:
        """The full id of what a client names, or a volume's name.

        Raises:
            Refusal: it is not there, or is not this run's, which looks the same.
        """
        if not self._policy.own:
            return name
        if kind == "volume":
            # Always asked after: it has no id, and somebody else's may be under the name by now.
            return await self._volume(name)
        if self.knows(kind, name):
            return name
        if kind == "network":
            return (await self.network(name)).id
        if kind == "exec":
            return await self._exec(name)
        return str((await self.container(name))["Id"])

    async def container(self, name: str) -> dict[str, Any]:
        """What the engine says of a container of this run.

        Raises:
            Refusal: it is not there, or is not this run's.
        """
        reply = await self._engine.call("GET", f"/containers/{name}/json")
        found: dict[str, Any] = reply.json() if reply.ok else {}
        if not reply.ok or not self.owns_container(found):
            raise missing("container", name)
        return found

    def owns_container(self, details: dict[str, Any]) -> bool:
        """Whether a container, as the engine tells its details, is this run's."""
        ours = self._labels.owns(CONTAINER, details["Config"].get("Labels"))
        if ours:
            self._containers.add(details["Id"])
        return ours or not self._policy.own

    async def network(self, name: str) -> Network:
        """A network of this run, or one that every engine has.

        It is looked for among these alone, since names of networks are not unique: somebody else's
        of the same name, or with an id that begins alike, is as if it were not there.

        Raises:
            Refusal: there is none.
        """
        found = (await self._engine.call("GET", "/networks")).json()
        ours = [Network(item["Id"], item["Name"]) for item in found if self.shows_network(item)]
        for matches in (
            [net for net in ours if net.id == name],
            [net for net in ours if net.name == name],
            [net for net in ours if net.id.startswith(name)],
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
        """Make a volume, or take the one of that name: engines answer both alike.

        So there is no moment between a look and the creation in which somebody else's volume could
        take its place.

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
        """Whether a container is this run's, by its full id."""
        if not self.knows("container", container):
            try:
                await self.container(container)
            except Refusal:
                return False
        return True
