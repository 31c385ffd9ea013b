"""What tests look at in the warm store."""

from __future__ import annotations

from docker.types import Mount

from conftest import DAEMON_IMAGE
from pytest_dind.engine.engine import Engine
from pytest_dind.store import seeding


def look(engine: Engine, script: str, *arguments: str) -> str:
    """Run a script in the store, as root who may write; gives its output."""
    container = engine.client.containers.create(
        DAEMON_IMAGE,
        [script, "sh", *arguments],
        entrypoint=["bash", "-euo", "pipefail", "-c"],
        working_dir="/store",
        mounts=[Mount("/store", seeding.VOLUME)],
    )
    try:
        container.start()
        assert container.wait()["StatusCode"] == 0, container.logs().decode()
        return str(container.logs(stderr=False).decode())
    finally:
        # With the volume that each container of this image has.
        container.remove(force=True, v=True)
