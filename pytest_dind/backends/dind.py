"""Mode dind: a `--privileged` container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .container import ContainerBackend

if TYPE_CHECKING:
    from ..engine import Engine


def make(engine: Engine) -> ContainerBackend:
    """The backend on this outer engine."""
    mode = __name__.rpartition(".")[2]
    return ContainerBackend(engine, mode=mode, host_config={"privileged": True})
