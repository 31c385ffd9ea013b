"""The ways to make a daemon, one module for each mode, named as the mode is.

Each module has `make(engine)`, which gives the backend, and `check(engine, probe)`, which gives
what stands in the way of the mode on this engine, if anything does. A module whose `check` leaves
something for the daemon's start to find out has `check_thoroughly(engine, probe)` too, which tries
that. One whose daemons show themselves what `check` would prove has `proved_by_start(engine)`:
whether they do here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..settings import AUTO
from .probe import Obstacle, Probe

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from .protocol import Backend

__all__ = [
    "AUTO_ORDER",
    "Choice",
    "Obstacle",
    "Probe",
    "backend",
    "check",
    "check_thoroughly",
    "choose",
    "isolates",
    "proved_by_start",
]

AUTO_ORDER: tuple[str, ...] = ("sysbox", "dind")
"""The modes that `auto` tries, in this order. Mode socket, the outer engine itself, is not among
them: it gives isolation away, which is not to be done without a word."""


@dataclass(frozen=True)
class Choice:
    """The mode in force, or what stands in its way.

    Attributes:
        mode: The mode.
        because: For a mode that `auto` picked, why.
        obstacle: Why the mode asked for can't be had.
        way: How the daemon is reached, and why, where that isn't by a shared directory.
    """

    mode: str
    because: str = ""
    obstacle: Obstacle | None = None
    way: str = ""


_DOCTOR = ("Look at what each mode lacks: python -m pytest_dind doctor.",)


def _module(mode: str) -> Any:
    return import_module(f".{mode}", __package__)


def isolates(mode: str) -> bool:
    """Tell whether a mode gives tests a daemon that is not the machine's own engine."""
    return bool(_module(mode).ISOLATES)


def backend(mode: str, engine: Engine) -> Backend:
    """The backend of a mode in force, on an outer engine."""
    made: Backend = _module(mode).make(engine)
    return made


def check(mode: str, engine: Engine, probe: Probe) -> Obstacle | None:
    """What stands in the way of a mode on this engine; None where it works."""
    found: Obstacle | None = _module(mode).check(engine, probe)
    return found


def check_thoroughly(mode: str, engine: Engine, probe: Probe) -> Obstacle | None:
    """What stands in the way of a mode, tried as far as that goes without a daemon."""
    module = _module(mode)
    found: Obstacle | None = getattr(module, "check_thoroughly", module.check)(engine, probe)
    return found


def proved_by_start(mode: str, engine: Engine) -> bool:
    """Whether a daemon's own start proves, on this engine, that the mode works."""
    return mode != AUTO and bool(
        getattr(_module(mode), "proved_by_start", lambda engine: False)(engine)
    )


def choose(asked: str, engine: Engine, probe: Probe) -> Choice:
    """The mode in force for the mode asked for; `auto` takes the most isolated that works."""
    if asked != AUTO:
        return Choice(asked, obstacle=check(asked, engine, probe))
    because: list[str] = []
    for mode in AUTO_ORDER:
        obstacle = check(mode, engine, probe)
        if obstacle is None:
            return Choice(mode, "; ".join(because) or "a container proved that it works")
        because.append(obstacle.cause)
    return Choice(
        AUTO, obstacle=Obstacle("no isolated mode works here", "\n".join(because), _DOCTOR)
    )
