"""The raw floor: a daemon in a container with docker-py alone, as fast as it can be had.

A process of its own: it starts one daemon, removes it, and writes what each took.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from .processes import RESULT

if TYPE_CHECKING:
    import docker

_POLL_SECONDS = 0.01
_LIMIT_SECONDS = 60
# From then on each poll looks at the container too; before, that would cost the floor its time.
_SUSPICIOUS_SECONDS = 5

# Not below /tmp: the official image mounts a tmpfs over that.
_HOME = "/run/benchmark"
_SOCKET = "docker.sock"


def main(image: str) -> None:
    """Measure once."""
    began = time.perf_counter()
    import docker

    imported = time.perf_counter()
    name = f"pytest-dind-benchmark-{uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        requested = time.perf_counter()
        engine = docker.from_env()
        try:
            _start(engine, image, name, home)
            _wait(engine, name, Path(home, _SOCKET))
            client = docker.DockerClient(base_url=f"unix://{home}/{_SOCKET}")
            client.ping()
            in_hand = time.perf_counter()
            client.close()
        finally:
            over = time.perf_counter()
            engine.api.remove_container(name, force=True, v=True)
            removed = time.perf_counter()
            engine.close()
    sample = {
        "start": in_hand - requested,
        "teardown": removed - over,
        "import docker": imported - began,
    }
    Path(os.environ[RESULT]).write_text(json.dumps(sample))


def _start(engine: docker.DockerClient, image: str, name: str, home: str) -> None:
    from docker.types import Mount

    mounts = [Mount(_HOME, home, type="bind"), Mount("/var/lib/docker", None)]
    engine.api.create_container(
        image,
        # Behind the image's own entrypoint, where it has one.
        ["dockerd", f"--host=unix://{_HOME}/{_SOCKET}"],
        name=name,
        host_config=engine.api.create_host_config(privileged=True, mounts=mounts),
    )
    engine.api.start(name)


def _wait(engine: docker.DockerClient, name: str, path: Path) -> None:
    began = time.monotonic()
    while not _answers(path):
        waited = time.monotonic() - began
        ended = waited > _SUSPICIOUS_SECONDS and not _runs(engine, name)
        if ended or waited > _LIMIT_SECONDS:
            log = engine.api.logs(name, tail=20).decode(errors="replace")
            raise SystemExit(f"The daemon {'ended' if ended else 'is not ready'}:\n{log}")
        time.sleep(_POLL_SECONDS)


def _runs(engine: docker.DockerClient, name: str) -> bool:
    return bool(engine.api.inspect_container(name)["State"]["Running"])


def _answers(path: Path) -> bool:
    """Whether the daemon's ping says yes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(str(path))
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in connection.recv(64)
        except OSError:
            return False


if __name__ == "__main__":
    main(sys.argv[1])
