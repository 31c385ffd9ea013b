"""The handlers of calls that read, and of lists and prunes, which select the run's own objects."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from ...engine.versions import dotted
from ...lifetime import labels
from ..http.refusal import Refusal, forbidden, malformed, unselective
from ..objects.run_labels import CONTAINER, NETWORK, VOLUME
from ..rules.body import Json
from .base import Handlers
from .exchange import Exchange

_ROLES = {"containers": CONTAINER, "networks": NETWORK, "volumes": VOLUME}


class ReadHandlers(Handlers):
    """The handlers of calls that change nothing, and of prunes, which select as lists do."""

    # Calls about what all may read.

    async def read(self, exchange: Exchange) -> None:
        """Pass a request on unchanged."""
        await exchange.forward(exchange.request.path)

    async def ping(self, exchange: Exchange) -> None:
        """Answer a ping, with the newest API version that engine and guard know."""
        await exchange.forward(exchange.request.path, newest=self._engine.version)

    async def read_json(self, exchange: Exchange) -> None:
        """Pass a request on with its JSON body."""
        await exchange.forward(exchange.request.path, await exchange.json())

    async def version(self, exchange: Exchange) -> None:
        """Answer with the engine's version, and the newest API version that both know."""
        reply = await exchange.call(exchange.request.path)
        found = reply.json()
        newest = dotted(self._engine.version)
        found["ApiVersion"] = newest
        for component in found.get("Components") or []:
            if "ApiVersion" in (component.get("Details") or {}):
                component["Details"]["ApiVersion"] = newest
        await exchange.answer(reply.status, found)

    async def refused(self, exchange: Exchange) -> None:
        """Refuse a call that reaches beyond the run's objects, unless it is allowed."""
        call = f"{exchange.request.method} {exchange.request.path}"
        allow = exchange.match.route.allow
        if allow:
            try:
                self._policy.demand(allow, f"{call}, a call that is about the engine itself,")
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
        """Open a session of BuildKit, in which the engine asks and the client answers."""
        if exchange.request.upgrade != b"h2c":
            raise malformed("a session that is not upgraded to h2c")
        await exchange.forward(exchange.request.path)

    # Lists.

    async def list_containers(self, exchange: Exchange) -> None:
        """List the run's own containers."""
        self._select(exchange, CONTAINER)
        await exchange.forward(exchange.request.path)

    async def list_volumes(self, exchange: Exchange) -> None:
        """List the run's own volumes."""
        self._select(exchange, VOLUME)
        reply = await exchange.call(exchange.request.path)
        if not reply.ok or not self._policy.own:
            return await exchange.reply(reply)
        found = reply.json()
        # See `labels.selected`.
        if found.get("Volumes"):
            found["Volumes"] = [
                item for item in found["Volumes"] if self._labels.owns(VOLUME, item.get("Labels"))
            ]
        return await exchange.answer(reply.status, found)

    def _select(self, exchange: Exchange, role: str) -> None:
        """Restrict a request's filters to the run's own objects."""
        given = exchange.match.value("filters")
        if self._policy.own:
            exchange.match.query["filters"] = [self._labels.filters(role, given)]

    async def list_networks(self, exchange: Exchange) -> None:
        """List the run's own networks, and those that every engine has."""
        reply = await exchange.call(exchange.request.path)
        if reply.ok:
            shown = [item for item in reply.json() if self._ownership.shows_network(item)]
            return await exchange.answer(reply.status, shown)
        return await exchange.reply(reply)

    async def disk_usage(self, exchange: Exchange) -> None:
        """Answer with the disk usage, in which only the run's own containers and volumes are."""
        reply = await exchange.call(exchange.request.path)
        if not reply.ok or not self._policy.own:
            return await exchange.reply(reply)
        found = reply.json()
        for kind, role in (("Container", CONTAINER), ("Volume", VOLUME)):
            # The forms before and since versions.DISK_USAGE.
            for usage, key in ((found, f"{kind}s"), (found.get(f"{kind}Usage") or {}, "Items")):
                if usage.get(key):
                    usage[key] = [
                        item for item in usage[key] if self._labels.owns(role, item.get("Labels"))
                    ]
        return await exchange.answer(reply.status, found)

    async def prune(self, exchange: Exchange) -> None:
        """Prune the run's own objects."""
        role = _ROLES[exchange.request.path.split("/")[1]]
        self._select(exchange, role)
        if role == VOLUME and self._policy.own:
            await self._demand_all_filters()
        await exchange.forward(exchange.request.path)

    async def _demand_all_filters(self) -> None:
        """Refuse a prune where the engine would remove what any one of its filters selects.

        See `labels.selected`. No volume is ours in this role.
        """
        filters = {"label": [f"{labels.ROLE}=none"], "driver": ["local"]}
        reply = await self._engine.call("GET", "/volumes", {"filters": [json.dumps(filters)]})
        if reply.ok and reply.json().get("Volumes"):
            raise unselective()

    # Events.

    async def events(self, exchange: Exchange) -> None:
        """Stream the events of the run's own objects and of images, each as the engine wrote it."""
        if not self._policy.own:
            return await exchange.forward(exchange.request.path)

        # What is known is told of also when it is gone: another guard of the run may have made it.
        await self._ownership.learn_there()

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
