"""What an engine that runs without root lacks for daemons, by what it tells about itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine import reach
from .probe import Obstacle


def obstacle(info: Mapping[str, Any]) -> Obstacle | None:
    """The obstacle to nested containers on an engine that tells this; None where there is none."""
    if not reach.tells_rootless(info) or info.get("CgroupDriver") != "none":
        return None
    return Obstacle(
        "the engine is rootless and has no control groups, so no nested container could start",
        f"Its info: Cgroup Driver none, Cgroup Version {info.get('CgroupVersion') or 1}.",
        (
            "Let it have control groups: cgroup v2, systemd, and delegation to its user "
            "(https://docs.docker.com/engine/security/rootless/).",
            "Use an engine that runs as root: --dind-host HOST.",
            "Use the engine itself: --dind-mode socket.",
        ),
    )
