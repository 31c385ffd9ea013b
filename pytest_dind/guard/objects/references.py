"""The other objects that the body of a create names: image, volumes, networks, containers."""

from __future__ import annotations

from typing import Any

from ..http.refusal import Refusal, forbidden, malformed, missing
from ..http.upstream import Upstream
from ..rules import mounts, networks
from ..rules.body import Json, fields, text, texts
from ..rules.containers import demand_log_driver, joined
from ..rules.names import is_image, is_object
from ..rules.policy import Policy
from .ownership import Ownership
from .run_labels import CONTAINER, VOLUME, RunLabels


class References:
    """Resolves the objects that a new container names, and refuses those that are not the run's."""

    def __init__(
        self, engine: Upstream, ownership: Ownership, labels: RunLabels, policy: Policy
    ) -> None:
        self._engine = engine
        self._ownership = ownership
        self._labels = labels
        self._policy = policy

    async def create(self, body: Json) -> Json:
        """Resolve the objects in the body of a create, whose fields are checked already.

        Raises:
            Refusal: an object that it names is not the run's.
        """
        host: Json = body["HostConfig"]
        labels = self._labels.for_role(VOLUME)
        wanted = mounts.read(host, self._policy, labels)
        await self._networks(body, host)
        await self._join(host)
        await self._log_driver(host)
        inherited = await self._volumes_from(host)
        declared = {*body.get("Volumes", {}), *await self._image_volumes(body.get("Image", ""))}
        for name, volume in wanted.named.items():
            await self._ownership.make_volume({"Name": name, **volume})
        host["Binds"], host["Mounts"] = wanted.binds, wanted.mounts
        body["HostConfig"] = mounts.with_anonymous(host, declared, inherited, labels)
        body["Labels"] = {**body.get("Labels", {}), **self._labels.for_role(CONTAINER)}
        return body

    async def _image_volumes(self, image: str) -> set[str]:
        """The paths of an image's declared volumes; a missing image is the engine's to report."""
        if not image or not await self._exists(image):
            return set()
        config = (await self._engine.call("GET", f"/images/{image}/json")).json()["Config"] or {}
        return set(config.get("Volumes") or {})

    async def _exists(self, image: str) -> bool:
        if not is_image(image):
            raise malformed(f"Image is {image!r}, which is no image's name")
        return (await self._engine.call("GET", f"/images/{image}/json")).ok

    async def _volumes_from(self, host: Json) -> set[str]:
        """Resolve VolumesFrom.

        Returns:
            The paths at which the volumes of these containers are mounted.
        """
        resolved, targets = [], set()
        for entry in texts("HostConfig.VolumesFrom", host.get("VolumesFrom")):
            name, colon, mode = entry.partition(":")
            details = await self._container(name)
            resolved.append(f"{details['Id']}{colon}{mode}")
            targets |= {point["Destination"] for point in details["Mounts"]}
        if resolved:
            host["VolumesFrom"] = resolved
        return targets

    async def _join(self, host: Json) -> None:
        """Resolve the containers whose namespaces are joined, and those that are linked."""
        for key in ("NetworkMode", "PidMode", "IpcMode"):
            name = joined(host.get(key) or "")
            if name:
                host[key] = await self.join(name)
        links = texts("HostConfig.Links", host.get("Links"))
        if links:
            host["Links"] = [await self._link(link) for link in links]

    async def join(self, name: str) -> str:
        """Resolve the mode that joins the namespace of a named container.

        Raises:
            Refusal: the container is not the run's.
        """
        if self._policy.allows(f"join:{name}"):
            return f"container:{name}"
        try:
            return f"container:{await self.container_id(name)}"
        except Refusal:
            raise forbidden(
                f"a namespace of the container {name}, which is not this run's,", f"join:{name}"
            ) from None

    async def _log_driver(self, host: Json) -> None:
        """Check the engine's default logging driver, if a container has options but no driver."""
        log = host.get("LogConfig") or {}
        if log.get("Config") and not log.get("Type"):
            info = (await self._engine.call("GET", "/info")).json()
            demand_log_driver(info["LoggingDriver"], self._policy)

    async def _link(self, link: str) -> str:
        name, colon, alias = link.partition(":")
        name = name.lstrip("/")
        details = await self._container(name)
        return f"{details['Id']}:{alias if colon else name}"

    async def container_id(self, name: str) -> str:
        """Resolve the name of a container to its full id.

        Raises:
            Refusal: it does not exist, or is not the run's.
        """
        return str((await self._container(name))["Id"])

    async def _container(self, name: str) -> dict[str, Any]:
        if not is_object(name):
            raise missing("container", name)
        return await self._ownership.container(name)

    async def _networks(self, body: Json, host: Json) -> None:
        """Resolve the networks to ids, so that a name can't come to mean another network."""
        config = fields(
            "NetworkingConfig",
            body.get("NetworkingConfig"),
            {"EndpointsConfig": lambda where, found: found},
            self._policy.unknown,
        )
        given = config.get("EndpointsConfig") or {}
        if not isinstance(given, dict):
            raise malformed("NetworkingConfig.EndpointsConfig is not a JSON object")
        mode = text("HostConfig.NetworkMode", host.get("NetworkMode"))
        plain = mode in ("", "default", "host", *networks.USABLE) or joined(mode)
        if not plain:
            given = {mode: {}, **given}
        endpoints = {}
        for asked, found in given.items():
            name, endpoint = await self.endpoint(asked, found)
            endpoints[name] = endpoint
            if asked == mode != name:
                host["NetworkMode"] = endpoint.get("NetworkID", name)
        if endpoints:
            body["NetworkingConfig"] = {"EndpointsConfig": endpoints}
        else:
            body.pop("NetworkingConfig", None)

    async def endpoint(self, name: str, found: Any) -> tuple[str, Json]:
        """Resolve a container's connection to a network, given by name or id.

        Returns:
            The network's name, and the settings. The engine takes a connection under an id for one
            to a second network.

        Links of a network are further names for what is on it, also for what is not there yet. So
        they are passed on as they are.

        Raises:
            Refusal: the network is not the run's.
        """
        kept = networks.endpoint(f"EndpointsConfig.{name}", found, self._policy)
        if name in ("default", *networks.BUILT_IN) or not self._policy.own:
            if name == "host":
                self._policy.demand("host-net", "the host's network namespace")
            return name, kept
        network = await self._ownership.network(name)
        if network.built_in:
            if network.name == "host":
                self._policy.demand("host-net", "the host's network namespace")
            return network.name, kept
        return network.name, {**kept, "NetworkID": network.id}
