"""Mode dind: a `--privileged` container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .container import ContainerBackend

if TYPE_CHECKING:
    import docker


def make(engine: docker.DockerClient) -> ContainerBackend:
    """The backend on this outer engine."""
    return ContainerBackend(
        engine, mode=__name__.rpartition(".")[2], host_config={"privileged": True}
    )
