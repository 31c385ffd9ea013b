"""Mode dind: a `--privileged` container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .container import ContainerBackend

if TYPE_CHECKING:
    from ..engine import Engine
    from .probe import Obstacle, Probe

MODE = __name__.rpartition(".")[2]


def make(engine: Engine) -> ContainerBackend:
    """The backend on this outer engine."""
    return ContainerBackend(engine, mode=MODE, host_config={"privileged": True})


def why_not(engine: Engine, probe: Probe) -> Obstacle | None:
    """Nothing that is known beforehand: an engine that refuses privilege says so at the start."""
    return None
