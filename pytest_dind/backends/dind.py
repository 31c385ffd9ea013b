"""Mode dind: a `--privileged` container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..causes import cause_of
from . import rootless
from .container import ContainerBackend
from .engine_errors import UNKNOWN_REMEDY
from .probe import LEASE_SEEN, LEASES, LOOK, MOUNT, MOUNTED, Obstacle, sections, unshared
from .spec import ContainerMode

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from .probe import Probe

ISOLATES = True

_MODE = ContainerMode("dind", host_config={"privileged": True})


def make(engine: Engine) -> ContainerBackend:
    """The backend on this outer engine."""
    return ContainerBackend(engine, _MODE)


def check(engine: Engine, probe: Probe) -> Obstacle | None:
    """None: an engine that refuses privilege says so when the daemon starts."""
    return None


def check_thoroughly(engine: Engine, probe: Probe) -> Obstacle | None:
    """The obstacle to a privileged container that mounts; None where one could."""
    without_groups = rootless.check(engine, probe)
    if without_groups is not None:
        return without_groups
    result = probe(LOOK, shares=True, privileged=True)
    seen = sections(result.output) if result.ran else {}
    evidence = seen.get(MOUNT, "") if result.ran else result.output
    if evidence == MOUNTED:
        return None if seen.get(LEASES) == LEASE_SEEN else unshared(engine)
    if result.ran:
        cause = "a --privileged container may not mount"
    elif result.hangs:
        cause = "a --privileged container hangs"
    else:
        cause = "the engine refuses a --privileged container"
    from ..causes import refusals

    known = cause_of(evidence, refusal=True)
    if known is None:
        return Obstacle(cause, evidence, UNKNOWN_REMEDY)
    if known not in refusals.CAUSES:
        cause = f"{cause}: {known.meaning}"
    return Obstacle(cause, evidence, known.remedy)


def proved_by_start(engine: Engine) -> bool:
    """False: `check` asks nothing that a start would have to prove."""
    return False
