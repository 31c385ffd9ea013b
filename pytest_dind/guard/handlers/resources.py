"""The handlers of calls about containers, networks and volumes of the run."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from ...allowances import BUILDKIT
from ..http.refusal import Refusal, forbidden, malformed, missing
from ..http.reply import Reply
from ..objects.run_labels import CONTAINER, NETWORK
from ..rules import mounts, networks
from ..rules.body import Json
from .base import NOT_SEEN, Handlers, path
from .exchange import Exchange

_BUILDX = "buildx_buildkit_"


class ResourceHandlers(Handlers):
    """The handlers of calls about containers, networks and volumes."""

    # Containers.

    async def own(self, exchange: Exchange) -> None:
        """Pass on a call about an object of the run's own, with the object's full id."""
        kind = exchange.match.route.subject
        resolved = await self._ownership.resolve(kind, exchange.match.name)
        if exchange.request.method == "DELETE" and kind == "network":
            await self._demand_own_network(resolved, exchange.match.name)
        await exchange.forward(path(exchange, resolved))

    async def _demand_own_network(self, resolved: str, name: str) -> None:
        if self._policy.own and not self._ownership.knows("network", resolved):
            raise forbidden(f"removing the network {name}, which every engine has,")

    async def inspect_container(self, exchange: Exchange) -> None:
        """Inspect a container; its labels in the answer tell whether it is the run's own."""
        name = exchange.match.name
        if self._ownership.knows("container", name) or not self._policy.own:
            return await exchange.forward(exchange.request.path)
        reply = await exchange.call(exchange.request.path)
        if reply.ok and not self._ownership.owns_container(reply.json()):
            raise missing("container", name)
        if not reply.ok and reply.status != 404:
            # The engine's text, such as that a prefix is ambiguous, may name other containers.
            raise missing("container", name)
        return await exchange.reply(reply)

    async def create_container(self, exchange: Exchange) -> None:
        """Create a container, with the run's labels on it and on its volumes."""
        content = await exchange.json()
        if self._policy.own and self._checks.asks_for_unusual_runtime(content):
            info = (await self._engine.call("GET", "/info")).json()
            self._checks.learn_default_runtime(info.get("DefaultRuntime") or "")
        body = await self._references.create(self._checks.create(content))
        await self._create("container", exchange, body)

    async def update_container(self, exchange: Exchange) -> None:
        """Update the limits of a container of the run's own."""
        body = self._checks.update(await exchange.json())
        resolved = await self._ownership.resolve("container", exchange.match.name)
        await exchange.forward(path(exchange, resolved), body)

    async def create_exec(self, exchange: Exchange) -> None:
        """Create a command in a container of the run's own."""
        body = self._checks.exec(await exchange.json())
        name = exchange.match.name
        try:
            resolved = await self._ownership.resolve("container", name)
        except Refusal:
            if name.startswith(_BUILDX) and not self._policy.allows("privileged"):
                # What buildx tries next: without this, its error tells of a missing container.
                self._policy.demand(BUILDKIT, f"buildx's container {name}: {NOT_SEEN}")
            raise
        await self._create("exec", exchange, body, path(exchange, resolved))

    async def start_exec(self, exchange: Exchange) -> None:
        """Start a command that was created before."""
        body = self._checks.exec(await exchange.json())
        resolved = await self._ownership.resolve("exec", exchange.match.name)
        await exchange.forward(path(exchange, resolved), body)

    async def _create(
        self, kind: str, exchange: Exchange, body: Json, target: str | None = None
    ) -> None:
        """Pass a create on, and record the new object."""
        reply = await exchange.call(target or exchange.request.path, body)
        if reply.ok:
            self._ownership.learn(kind, reply.json()["Id"])
        await exchange.reply(reply)

    # Networks.

    async def create_network(self, exchange: Exchange) -> None:
        """Create a network with the run's labels."""
        body = networks.create(await exchange.json(), self._policy)
        body["Labels"] = {**body.get("Labels", {}), **self._labels.for_role(NETWORK)}
        await self._create("network", exchange, body)

    async def inspect_network(self, exchange: Exchange) -> None:
        """Inspect a network; of its containers, the answer has only the run's own."""
        resolved = await self._ownership.resolve("network", exchange.match.name)
        reply = await exchange.call(path(exchange, resolved))
        if not reply.ok or not self._policy.own:
            return await exchange.reply(reply)
        found = reply.json()
        on_it: Mapping[str, Any] = found.get("Containers") or {}
        if on_it:
            ours = await self._own_containers()
            found["Containers"] = {key: value for key, value in on_it.items() if key in ours}
        return await exchange.answer(reply.status, found)

    async def _own_containers(self) -> set[str]:
        query = {"all": ["1"], "filters": [self._labels.filters(CONTAINER)]}
        reply = await self._engine.call("GET", "/containers/json", query)
        return {item["Id"] for item in reply.json()}

    async def connect_network(self, exchange: Exchange) -> None:
        """Connect a container of the run's own to a network of the run's own."""
        body = await exchange.json()
        resolved = await self._resolve_both(exchange, body, {"Container", "EndpointConfig"})
        _, endpoint = await self._references.endpoint(resolved, body.get("EndpointConfig"))
        body["EndpointConfig"] = endpoint
        await exchange.forward(path(exchange, resolved), body)

    async def disconnect_network(self, exchange: Exchange) -> None:
        """Disconnect a container of the run's own from a network."""
        body = await exchange.json()
        resolved = await self._resolve_both(exchange, body, {"Container", "Force"})
        await exchange.forward(path(exchange, resolved), body)

    async def _resolve_both(self, exchange: Exchange, body: Json, known: set[str]) -> str:
        """Resolve the network, which is returned, and the container in the body to full ids."""
        if not body.keys() <= known or not isinstance(body.get("Container"), str):
            raise malformed("a body that has other keys, or names no container")
        name = exchange.match.name
        if not self._policy.own:
            return name
        network = await self._ownership.network(name)
        if network.built_in and network.name not in networks.USABLE:
            self._policy.demand("host-net", "the host's network namespace")
        body["Container"] = await self._references.container_id(body["Container"])
        return network.id

    # Volumes.

    async def create_volume(self, exchange: Exchange) -> None:
        """Create a volume with the run's labels."""
        body = mounts.volume(await exchange.json(), self._policy)
        made = await self._ownership.make_volume(body)
        await exchange.answer(201, made)

    async def remove_volume(self, exchange: Exchange) -> None:
        """Remove a volume of the run's own; by force, none of that name is no error."""
        if self._policy.own and exchange.match.flag("force"):
            found = await self._engine.call("GET", f"/volumes/{exchange.match.name}")
            if found.status == HTTPStatus.NOT_FOUND:
                return await exchange.reply(Reply(204, b"application/json", b""))
        return await self.own(exchange)
