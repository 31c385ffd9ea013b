"""Mode dind: a `--privileged` container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine import denials
from .container import ContainerBackend
from .engine_errors import refusal
from .probe import LEASE_SEEN, LEASES, LOOK, MOUNT, MOUNTED, Obstacle, sections, unshared

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from .probe import Probe

MODE = __name__.rpartition(".")[2]
ISOLATES = True
"""Whether tests have a daemon that is not the machine's own engine."""


def make(engine: Engine) -> ContainerBackend:
    """The backend on this outer engine."""
    return ContainerBackend(engine, mode=MODE, host_config={"privileged": True})


def check(engine: Engine, probe: Probe) -> Obstacle | None:
    """Nothing that is known beforehand: an engine that refuses privilege says so at the start."""
    return None


def check_thoroughly(engine: Engine, probe: Probe) -> Obstacle | None:
    """Why no privileged container can be had, or none that may mount; None where one could."""
    sight = probe(LOOK, shares=True, privileged=True)
    seen = sections(sight.output) if sight.ran else {}
    evidence = seen.get(MOUNT, "") if sight.ran else sight.output
    if evidence == MOUNTED:
        return None if seen.get(LEASES) == LEASE_SEEN else unshared()
    if sight.ran:
        cause = "a --privileged container may not mount"
    elif sight.hangs:
        cause = "a --privileged container hangs"
    else:
        cause = "the engine refuses a --privileged container"
    denial = denials.recognized(evidence)
    if denial is not None:
        return Obstacle(f"{cause}: {denial.cause}", evidence, denial.remedy)
    return Obstacle(cause, evidence, tuple(refusal(evidence)[1]))
