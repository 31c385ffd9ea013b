"""Calls that are everybody's to make, and lists, in which a client sees what is its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from ...allowances import BUILDKIT
from ..http.head import dotted
from ..http.refusal import Refusal, forbidden, malformed
from ..objects.run_labels import CONTAINER, NETWORK, VOLUME
from ..rules.body import Json
from .base import Handlers
from .exchange import Exchange

_NOT_SEEN = (
    "BuildKit's own API, in which nothing can be labelled (with DOCKER_BUILDKIT=0 docker and "
    "compose build without it),"
)
_ROLES = {"containers": CONTAINER, "networks": NETWORK, "volumes": VOLUME}


class ReadHandlers(Handlers):
    """The handlers of calls that read, and of prunes, which select as lists do."""

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
        if allow:
            what = _NOT_SEEN if allow == BUILDKIT else "a call that is about the engine itself,"
            try:
                self._policy.demand(allow, f"{call}, {what}")
            except Refusal as refusal:
                if exchange.request.method == "GET" and exchange.match.name:
                    # `docker inspect` looks for a name among all there is, up to the first error
                    # that is not this one.
                    raise Refusal(404, refusal.message) from None
                raise
        elif self._policy.own:
            raise forbidden(f"{call}, a call that reaches into the host,")
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
            exchange.match.query["filters"] = [self._labels.filters(role, given)]

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
                        item for item in usage[key] if self._labels.owns(role, item.get("Labels"))
                    ]
        return await exchange.answer(reply.status, found)

    async def prune(self, exchange: Exchange) -> None:
        """Only the run's own."""
        self._select(exchange, _ROLES[exchange.request.path.split("/")[1]])
        await exchange.forward(exchange.request.path)

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
            return self._labels.owns(CONTAINER, attributes)
        if kind in ("network", "volume"):
            if self._ownership.knows(kind, name):
                return True
            try:
                await self._ownership.resolve(kind, name)
            except Refusal:
                return False
            return self._ownership.knows(kind, name)
        return kind == "image"
