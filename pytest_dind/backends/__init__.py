"""The ways to make a daemon, one module for each mode, named as the mode is."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ..settings import MODES

if TYPE_CHECKING:
    from ..engine import Engine
    from .protocol import Backend


def resolve(mode: str) -> str:
    """The mode in force for a mode asked for: `auto` picks one."""
    return MODES[0] if mode == "auto" else mode


def backend(mode: str, engine: Engine) -> Backend:
    """The backend of a mode in force, on an outer engine."""
    made: Backend = import_module(f".{mode}", __name__).make(engine)
    return made
