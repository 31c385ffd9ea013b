"""What an engine that runs without root may lack for daemons: control groups, as a trial shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine import containers, reach
from .probe import Obstacle

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from .probe import Probe

SCRIPT = "backends/control_groups.sh"
"""The trial, for a shell in a container."""

_DIVIDES = "a control group was made"


def check(engine: Engine, probe: Probe) -> Obstacle | None:
    """The obstacle to nested containers, as a container shows; None where there is none.

    The first process of a daemon's container tries the same. Not tried on an engine that runs as
    root; one that refuses the container shows nothing.
    """
    if not reach.tells_rootless(engine.info()):
        return None
    command = f"{containers.script(SCRIPT)}\nif divides; then echo {_DIVIDES}; fi"
    result = probe(("sh", "-c", command), privileged=True)
    return obstacle(result.output) if result.ran and _DIVIDES not in result.output else None


def obstacle(seen: str) -> Obstacle:
    """The obstacle where the trial has failed with this output."""
    return Obstacle(
        "the engine gives its containers no control groups that they may divide, so no nested "
        "container could start",
        seen.strip(),
        (
            "Where the engine runs without root, let it have control groups: cgroup v2, and "
            "delegation to its user, as by systemd "
            "(https://docs.docker.com/engine/security/rootless/).",
            "Use an engine that runs as root: --dind-host HOST.",
            "Use the engine itself: --dind-mode socket.",
        ),
    )
