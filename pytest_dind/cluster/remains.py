"""What an ended run has left in a swarm: found and removed, before another run has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..engine import containers
from ..engine.polling import poll

if TYPE_CHECKING:
    from .membership import Membership
    from .node import Node

# A network is in use until the tasks in it have ended, which takes the managers a moment.
_SECONDS = 15
_POLL_SECONDS = 0.05
_SWARM = "swarm"


def remove(members: Membership) -> str:
    """Remove services, secrets, configs and networks of a swarm, and the containers of its nodes.

    Images and volumes stay.

    Args:
        members: Who is in the swarm.

    Returns:
        What can't be removed; empty where nothing is left.
    """
    with members.look_until_there().leader._connected() as client:
        api: Any = client.api
        why = _remove("service", api.services(), api.remove_service)
        with ThreadPoolExecutor(len(members.nodes)) as pool:
            # Those of tasks too: the managers would give them ten seconds to end in.
            list(pool.map(_clear, members.nodes))
            why = (
                why
                or _remove("secret", api.secrets(), api.remove_secret)
                or _remove("config", api.configs(), api.remove_config)
                or _remove("network", filter(_is_of_tests, api.networks()), api.remove_network)
            )
            if why:
                return why
            # A node hears of it from the managers, a moment after these have removed it.
            cleared = pool.map(_is_cleared, members.nodes)
            late = [one.name for one, done in zip(members.nodes, cleared, strict=True) if not done]
            return f"{late[0]} is not empty" if late else ""


def _remove(kind: str, there: Iterable[Mapping[str, Any]], remove: Callable[[str], object]) -> str:
    """Remove objects of a kind; gives which can't be removed."""
    for one in there:
        name = str(one.get("ID") or one["Id"])

        def is_gone(name: str = name) -> bool | None:
            return _gone(remove, name) or None

        if not poll(is_gone, seconds=_SECONDS, every=_POLL_SECONDS):
            return f"its {kind} {name} can't be removed"
    return ""


def _clear(node: Node) -> bool | None:
    """Remove the containers of a node; true where there were none, and no network of tests."""
    with node._connected() as client:
        api: Any = client.api
        found = [str(one["Id"]) for one in api.containers(all=True)]
        for container in found:
            _gone(partial(containers.remove, api), container)
        return not (found or any(map(_is_of_tests, api.networks()))) or None


def _is_cleared(node: Node) -> bool | None:
    """Whether a node has become empty in time."""
    return poll(partial(_clear, node), seconds=_SECONDS, every=_POLL_SECONDS)


def _is_of_tests(network: Mapping[str, Any]) -> bool:
    return network.get("Scope") == _SWARM and not network.get("Ingress")


def _gone(call: Callable[[str], object], name: str) -> bool:
    """Whether an object could be removed, or is gone by itself."""
    from docker.errors import APIError

    try:
        call(name)
    except APIError as error:
        return error.status_code == HTTPStatus.NOT_FOUND
    return True
