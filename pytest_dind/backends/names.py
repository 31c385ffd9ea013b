"""Networks of the outer engine that a daemon joins, and their names for its nested containers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..engine import containers
from ..engine import exec as exec_module
from ..engine.polling import poll
from ..errors import DindError, SettingsError
from . import subnets, tls_connection
from .subnets import DEFAULT

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..engine.streams import Progress
    from ..lifetime.layout import Home

__all__ = ["DEFAULT", "demand", "join", "tell", "way_back"]

# The drivers of the networks `host` and `none`, which a container has alone or not at all.
_ALONE = {"host", "null"}
# What is killed can't be entered any more, and runs for a moment still, as the engine tells it.
_ENDING_SECONDS = 1
_POLL_SECONDS = 0.05


def demand(network: str, outer: Iterable[Mapping[str, Any]]) -> None:
    """Check that a daemon can join this network of the outer engine.

    Args:
        network: The network's name.
        outer: The engine's networks, as its API lists them.

    Raises:
        SettingsError: there is no such network, or no container can join it.
    """
    there = sorted({found["Name"] for found in outer if found.get("Driver") not in _ALONE})
    if network not in there:
        raise SettingsError(
            f"--dind-network: the outer engine has no network {network!r} that a daemon can join.",
            evidence=f"Networks there: {', '.join(there)}.",
            remedy=[
                "Name one of these; docker compose puts its project's name before a network's.",
                f"Make it first: docker network create {network}.",
            ],
        )


def way_back(engine: Engine) -> str:
    """The address at which containers in an engine's default network reach this process.

    Empty where none is known: the engine is on another machine, or in a virtual one.
    """
    outer = engine.client.api.networks()
    return subnets.nested(outer, gateway=tls_connection.gateway(engine)).gateway


def join(engine: Engine, home: Home, network: str, progress: Progress) -> None:
    """Have a daemon that is ready join the network of `--dind-network`.

    Raises:
        DindError: the engine refuses to.
    """
    from docker.errors import APIError

    try:
        engine.client.api.connect_container_to_network(home.label, network)
    except APIError as error:
        raise DindError(
            f"--dind-network: the daemon {home.name!r} cannot join the network {network!r}.",
            evidence=f"{engine.url}: {error.explanation or error}",
            remedy=[
                "Name a network that containers can join while they run; one of a swarm must be "
                "attachable: docker network create --driver overlay --attachable.",
                "Look at the network: docker network inspect.",
            ],
        ) from error
    tell(engine, home.label, progress)


def _is_ending(engine: Engine, container: str) -> bool:
    """Whether a container ends just now: who removes a daemon that starts needs no word of it."""

    def look() -> bool | None:
        details = containers.inspect(engine.client, container)
        return None if details and details["State"]["Running"] else True

    return poll(look, seconds=_ENDING_SECONDS, every=_POLL_SECONDS) or False


def tell(engine: Engine, container: str, progress: Progress) -> None:
    """Let nested containers of a daemon know the names in the networks that it has joined.

    The daemon works without: where that can't be, a line says so, and why.

    Args:
        engine: The outer engine.
        container: The daemon's container.
        progress: Where the line goes.
    """
    from docker.errors import APIError

    command = exec_module.Command(["sh", "-c", containers.script("backends/redirect.sh")])
    try:
        done = exec_module.run(engine.client, container, command)
        why = (done.stderr + done.stdout).decode(errors="replace") if done.returncode else ""
    except APIError as error:
        why = str(error.explanation or error)
    if why and not _is_ending(engine, container):
        progress(
            f"names: nested containers don't know the names in the networks of {container}: "
            f"{' '.join(why.split())}"
        )
