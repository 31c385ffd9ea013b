"""How much memory there is for what a run is about to start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine import meminfo

if TYPE_CHECKING:
    from ..engine.engine import Engine


def room(engine: Engine) -> tuple[int | None, str]:
    """Return the bytes of memory on an engine's machine, as far as is known, and what they are."""
    if not engine.unshared and meminfo.PATH.exists():
        return meminfo.available(meminfo.PATH.read_text()), "available on this machine"
    # How much of it is available an engine does not tell.
    return engine.info().get("MemTotal"), "on the engine's machine there are in all"
