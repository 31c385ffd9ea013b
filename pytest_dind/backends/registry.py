"""The modes: the backend of each, whether it works on an engine, and which one `auto` takes.

Each mode has a module of its name here, with

- `ISOLATES`: whether its daemons are the tests' own, apart from the outer engine;
- `make(engine)`, which gives its backend;
- `check(engine, probe)`, which gives the obstacle to the mode on this engine, if there is one;
- `check_thoroughly(engine, probe)`, which also tries what `check` leaves to the daemon's start;
- `proved_by_start(engine)`: whether a daemon's start shows, on this engine, that the mode works.
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

AUTO_ORDER = ("sysbox", "dind")
"""The modes that `auto` tries, the most isolated first. It takes no mode that does not isolate:
isolation is not to be given away without a word."""

_DOCTOR = ("Look at what each mode lacks: python -m pytest_dind doctor.",)


@dataclass(frozen=True)
class Choice:
    """The mode in force, or the obstacle to it.

    Attributes:
        mode: The mode.
        because: For a mode that `auto` picked, why.
        obstacle: Why the mode asked for can't be had.
        connection: How its daemons are reached, and why; empty for a shared directory.
        remembered: Whether `auto` relied on what an earlier run had proved.
    """

    mode: str
    because: str = ""
    obstacle: Obstacle | None = None
    connection: str = ""
    remembered: bool = False


def _module(mode: str) -> Any:
    return import_module(f".{mode}", __package__)


def isolates(mode: str) -> bool:
    """Whether the daemons of a mode are the tests' own, apart from the outer engine."""
    return bool(_module(mode).ISOLATES)


def backend(mode: str, engine: Engine) -> Backend:
    """The backend of a mode on an outer engine."""
    made: Backend = _module(mode).make(engine)
    return made


def check(mode: str, engine: Engine, probe: Probe) -> Obstacle | None:
    """The obstacle to a mode on this engine; None where it works."""
    found: Obstacle | None = _module(mode).check(engine, probe)
    return found


def check_thoroughly(mode: str, engine: Engine, probe: Probe) -> Obstacle | None:
    """The same, tried as far as that goes without a daemon."""
    found: Obstacle | None = _module(mode).check_thoroughly(engine, probe)
    return found


def proved_by_start(mode: str, engine: Engine) -> bool:
    """Whether a daemon's own start proves, on this engine, that the mode works."""
    return mode != AUTO and bool(_module(mode).proved_by_start(engine))


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
