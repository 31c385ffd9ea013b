"""The handlers of the calls that make something in a swarm, where swarm is allowed."""

from __future__ import annotations

from typing import Any

from ..http.refusal import Refusal, forbidden, malformed
from ..objects import journal
from ..objects.run_labels import CONTAINER, SWARM, VOLUME
from ..rules.body import Json
from .base import Context, Handlers
from .exchange import Exchange

_GATEWAY = "docker_gwbridge"


class SwarmHandlers(Handlers):
    """The handlers of the swarm itself, and of its services, secrets and configs.

    All of these get the run's labels, and go in the end. The swarm goes with the run that the node
    has joined it in.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._journal = context.journal

    async def enter(self, exchange: Exchange) -> None:
        """Have the engine begin a swarm, or join one, which it leaves in the end."""
        self._demand(exchange)
        networks = (await self._engine.call("GET", "/networks")).json()
        new = all(item["Name"] != _GATEWAY for item in networks)
        reply = await exchange.call(exchange.request.path, await exchange.json())
        if reply.ok:
            # Engines leave this network behind.
            words = [await self._node(), *([_GATEWAY] if new else [])]
            self._journal.write(journal.SWARM, *words)
        await exchange.reply(reply)

    async def leave(self, exchange: Exchange) -> None:
        """Have the engine leave the swarm that it has joined in this run."""
        node = await self._node()
        if not node:
            # Asked for by tools that begin with an engine as it came.
            raise Refusal(503, "This node is not part of a swarm")
        self._demand(exchange)
        joined = {first for kind, first, _ in self._journal.read() if kind == journal.SWARM}
        if self._policy.own and node not in joined:
            raise forbidden("leaving a swarm that this run did not join")
        await exchange.forward(exchange.request.path)

    async def create_service(self, exchange: Exchange) -> None:
        """Create a service, whose tasks' containers and volumes get the run's labels, too."""
        await self._make(exchange, tasks=True)

    async def update_service(self, exchange: Exchange) -> None:
        """Update a service, whose labels stay the run's where they were."""
        self._demand(exchange)
        body = await exchange.json()
        name = exchange.request.path.split("/")[2]
        there = (await self._engine.call("GET", f"/services/{name}")).json()
        if self._labels.owns(SWARM, (there.get("Spec") or {}).get("Labels")):
            self._label(body, tasks=True)
        await exchange.forward(exchange.request.path, body)

    async def create_labelled(self, exchange: Exchange) -> None:
        """Create a secret or a config."""
        await self._make(exchange, tasks=False)

    async def _make(self, exchange: Exchange, *, tasks: bool) -> None:
        self._demand(exchange)
        body = await exchange.json()
        self._label(body, tasks=tasks)
        self._journal.write(journal.LABELLED)
        await exchange.forward(exchange.request.path, body)

    def _label(self, body: Json, *, tasks: bool) -> None:
        """Add the run's labels to a service, secret or config."""
        _add_labels(body, self._labels.for_role(SWARM))
        container = _part(_part(body, "TaskTemplate"), "ContainerSpec") if tasks else None
        if not container:
            return
        _add_labels(container, self._labels.for_role(CONTAINER))
        for mount in container.get("Mounts") or []:
            if isinstance(mount, dict) and mount.get("Type") == "volume":
                options = mount["VolumeOptions"] = _part(mount, "VolumeOptions")
                _add_labels(options, self._labels.for_role(VOLUME))

    async def _node(self) -> str:
        """The id of the engine's node in a swarm; empty where it is in none."""
        info = (await self._engine.call("GET", "/info")).json()
        return str((info.get("Swarm") or {}).get("NodeID") or "")

    def _demand(self, exchange: Exchange) -> None:
        call = f"{exchange.request.method} {exchange.request.path}"
        self._policy.demand("swarm", f"{call}, a call that is about the engine itself,")


def _part(body: Json, key: str) -> Json:
    found: Any = body.get(key)
    if found is not None and not isinstance(found, dict):
        raise malformed(f"{key} is not a JSON object")
    return found or {}


def _add_labels(body: Json, labels: dict[str, str]) -> None:
    body["Labels"] = {**_part(body, "Labels"), **labels}
