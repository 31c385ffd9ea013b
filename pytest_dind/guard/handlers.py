"""What is done with each call: who it is about is settled first, and then it is passed on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from . import mounts, networks
from .body import Json
from .containers import Checks
from .exchange import Exchange
from .head import dotted
from .images import Images
from .ownership import Ownership
from .policy import Policy
from .references import References
from .refusal import Refusal, forbidden, malformed, missing
from .stamp import CONTAINER, NETWORK, VOLUME, Stamp
from .upstream import Engine

Handler = Callable[[Exchange], Awaitable[None]]

_ROLES = {"containers": CONTAINER, "networks": NETWORK, "volumes": VOLUME}


class Handlers:
    """The handlers that routes name, but for those of images."""

    def __init__(
        self, engine: Engine, ownership: Ownership, images: Images, stamp: Stamp, policy: Policy
    ) -> None:
        self._engine = engine
        self._ownership = ownership
        self._images = images
        self._stamp = stamp
        self._policy = policy
        self._checks = Checks(policy)
        self._references = References(engine, ownership, stamp, policy)

    # What is everybody's to read.

    async def read(self, exchange: Exchange) -> None:
        """Pass it on as it is."""
        await exchange.forward(exchange.request.path)

    async def ping(self, exchange: Exchange) -> None:
        """A sign of life, which tells the engine's newest API version."""
        await exchange.forward(exchange.request.path, newest=self._engine.version)

    async def read_json(self, exchange: Exchange) -> None:
        """Pass it on with its body."""
        await exchange.forward(exchange.request.path, await exchange.json())

    async def version(self, exchange: Exchange) -> None:
        """The engine's version, with the newest API version that the guard knows as its newest."""
        reply = await exchange.call(exchange.request.path)
        found = reply.json()
        newest = dotted(self._engine.version)
        found["ApiVersion"] = newest
        for component in found.get("Components") or []:
            if "ApiVersion" in (component.get("Details") or {}):
                component["Details"]["ApiVersion"] = newest
        await exchange.answer(reply.status, found)

    async def refused(self, exchange: Exchange) -> None:
        """What reaches beyond a run's own, unless it is allowed."""
        call = f"{exchange.request.method} {exchange.request.path}"
        allow = exchange.match.route.allow
        if not allow:
            raise forbidden(f"{call}, a call that reaches into the host,")
        self._policy.demand(allow, f"{call}, a call that is about the engine itself,")
        await exchange.forward(exchange.request.path)

    async def session(self, exchange: Exchange) -> None:
        """A session of BuildKit, in which the engine asks and the client answers."""
        if exchange.request.upgrade != b"h2c":
            raise malformed("a session that is not upgraded to h2c")
        await exchange.forward(exchange.request.path)

    # Lists.

    async def list_containers(self, exchange: Exchange) -> None:
        """Only the run's own."""
        self._select(exchange, CONTAINER)
        await exchange.forward(exchange.request.path)

    async def list_volumes(self, exchange: Exchange) -> None:
        """Only the run's own."""
        self._select(exchange, VOLUME)
        await exchange.forward(exchange.request.path)

    def _select(self, exchange: Exchange, role: str) -> None:
        """Have the engine look at the run's own alone."""
        given = exchange.match.value("filters")
        if self._policy.own:
            exchange.match.query["filters"] = [self._stamp.filters(role, given)]

    async def list_networks(self, exchange: Exchange) -> None:
        """Only the run's own, and those that every engine has."""
        reply = await exchange.call(exchange.request.path)
        if reply.ok:
            shown = [item for item in reply.json() if self._ownership.shows_network(item)]
            return await exchange.answer(reply.status, shown)
        return await exchange.reply(reply)

    async def disk_usage(self, exchange: Exchange) -> None:
        """Of containers and volumes only the run's own."""
        reply = await exchange.call(exchange.request.path)
        if not reply.ok or not self._policy.own:
            return await exchange.reply(reply)
        found = reply.json()
        for kind, role in (("Container", CONTAINER), ("Volume", VOLUME)):
            # As it is told up to API 1.51, and since.
            for usage, key in ((found, f"{kind}s"), (found.get(f"{kind}Usage") or {}, "Items")):
                if usage.get(key):
                    usage[key] = [
                        item for item in usage[key] if self._stamp.owns(role, item.get("Labels"))
                    ]
        return await exchange.answer(reply.status, found)

    async def prune(self, exchange: Exchange) -> None:
        """Only the run's own."""
        self._select(exchange, _ROLES[exchange.request.path.split("/")[1]])
        await exchange.forward(exchange.request.path)

    # Containers.

    async def own(self, exchange: Exchange) -> None:
        """Anything with an object of the run's own."""
        kind = exchange.match.route.subject
        resolved = await self._ownership.resolve(kind, exchange.match.name)
        if exchange.request.method == "DELETE" and kind == "network":
            await self._demand_own_network(resolved, exchange.match.name)
        await exchange.forward(_path(exchange, resolved))

    async def _demand_own_network(self, resolved: str, name: str) -> None:
        if self._policy.own and not self._ownership.knows("network", resolved):
            raise forbidden(f"removing the network {name}, which every engine has,")

    async def inspect_container(self, exchange: Exchange) -> None:
        """Asked by name, the answer itself says whose the container is."""
        name = exchange.match.name
        if self._ownership.knows("container", name) or not self._policy.own:
            return await exchange.forward(exchange.request.path)
        reply = await exchange.call(exchange.request.path)
        if reply.ok and not self._ownership.owns_container(reply.json()):
            raise missing("container", name)
        if not reply.ok and reply.status != 404:
            # The engine's text, such as that a prefix is ambiguous, may speak of others.
            raise missing("container", name)
        return await exchange.reply(reply)

    async def create_container(self, exchange: Exchange) -> None:
        """A container, with the run's labels on it and on its volumes."""
        checked = self._checks.create(await exchange.json())
        body = await self._references.create(checked)
        await self._learned("container", exchange, body)

    async def update_container(self, exchange: Exchange) -> None:
        """The limits of a container of the run's own."""
        body = self._checks.update(await exchange.json())
        resolved = await self._ownership.resolve("container", exchange.match.name)
        await exchange.forward(_path(exchange, resolved), body)

    async def create_exec(self, exchange: Exchange) -> None:
        """A command in a container of the run's own."""
        body = self._checks.exec(await exchange.json())
        resolved = await self._ownership.resolve("container", exchange.match.name)
        await self._learned("exec", exchange, body, _path(exchange, resolved))

    async def start_exec(self, exchange: Exchange) -> None:
        """A command that was made before."""
        body = self._checks.exec(await exchange.json())
        resolved = await self._ownership.resolve("exec", exchange.match.name)
        await exchange.forward(_path(exchange, resolved), body)

    async def _learned(
        self, kind: str, exchange: Exchange, body: Json, path: str | None = None
    ) -> None:
        """Pass a create on, and take note of what was made."""
        reply = await exchange.call(path or exchange.request.path, body)
        if reply.ok:
            self._ownership.learn(kind, reply.json()["Id"])
        await exchange.reply(reply)

    # Networks.

    async def create_network(self, exchange: Exchange) -> None:
        """A network, with the run's labels."""
        body = networks.create(await exchange.json(), self._policy)
        body["Labels"] = {**body.get("Labels", {}), **self._stamp.labels(NETWORK)}
        await self._learned("network", exchange, body)

    async def inspect_network(self, exchange: Exchange) -> None:
        """A network; of the containers on it only the run's own."""
        resolved = await self._ownership.resolve("network", exchange.match.name)
        reply = await exchange.call(_path(exchange, resolved))
        if not reply.ok or not self._policy.own:
            return await exchange.reply(reply)
        found = reply.json()
        on_it: Mapping[str, Any] = found.get("Containers") or {}
        if on_it:
            ours = await self._own_containers()
            found["Containers"] = {key: value for key, value in on_it.items() if key in ours}
        return await exchange.answer(reply.status, found)

    async def _own_containers(self) -> set[str]:
        query = {"all": ["1"], "filters": [self._stamp.filters(CONTAINER)]}
        reply = await self._engine.call("GET", "/containers/json", query)
        return {item["Id"] for item in reply.json()}

    async def connect_network(self, exchange: Exchange) -> None:
        """A container of the run's own, onto a network of the run's own."""
        body = await exchange.json()
        resolved = await self._onto(exchange, body, {"Container", "EndpointConfig"})
        endpoint = await self._references.endpoint(resolved, body.get("EndpointConfig"))
        body["EndpointConfig"] = endpoint
        await exchange.forward(_path(exchange, resolved), body)

    async def disconnect_network(self, exchange: Exchange) -> None:
        """A container of the run's own, off a network."""
        body = await exchange.json()
        resolved = await self._onto(exchange, body, {"Container", "Force"})
        await exchange.forward(_path(exchange, resolved), body)

    async def _onto(self, exchange: Exchange, body: Json, known: set[str]) -> str:
        """The network, and in the body the container, by their full ids."""
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
        """A volume, with the run's labels."""
        body = mounts.volume(await exchange.json(), self._policy)
        made = await self._ownership.make_volume(body)
        await exchange.answer(201, made)

    # Events.

    async def events(self, exchange: Exchange) -> None:
        """Only the run's own, and those of images; each as the engine wrote it."""
        if not self._policy.own:
            return await exchange.forward(exchange.request.path)

        async def shown(line: bytes) -> AsyncIterator[bytes]:
            if line and await self._is_shown(json.loads(line)):
                yield line

        return await exchange.forward(exchange.request.path, lines=shown)

    async def _is_shown(self, event: Json) -> bool:
        actor = event.get("Actor") or {}
        attributes, name = actor.get("Attributes") or {}, actor.get("ID", "")
        kind = event.get("Type")
        if kind == "container":
            return self._stamp.owns(CONTAINER, attributes)
        if kind in ("network", "volume"):
            if self._ownership.knows(kind, name):
                return True
            try:
                await self._ownership.resolve(kind, name)
            except Refusal:
                return False
            return self._ownership.knows(kind, name)
        return kind == "image"


def _path(exchange: Exchange, resolved: str) -> str:
    """The path of a call, with the full id of what it is about instead of what the client wrote."""
    match = exchange.match.route.pattern.fullmatch(exchange.request.path)
    assert match is not None
    start, end = match.span("name")
    return exchange.request.path[:start] + resolved + exchange.request.path[end:]
