"""The raw floor: a daemon in a container with docker-py alone, as fast as it can be had.

A process of its own: it starts one daemon, or several at once, each in a process of its own,
removes them, and writes what that took.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
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
SOCKET = "docker.sock"
"""The name of the daemon's socket in its home."""


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("image")
    parser.add_argument("--runtime", default="", help="the container's; empty: it is privileged")
    parser.add_argument("--load", default="", help="an image to have in the daemon")
    parser.add_argument("--count", type=int, default=1, help="daemons at once")
    options = parser.parse_args()
    began = time.perf_counter()
    import docker

    imported = time.perf_counter()
    assert docker
    if options.count == 1:
        requested, in_hand, removed = _measure(options, lambda: None)
        sample = {"start": in_hand - requested, "teardown": removed}
    else:
        sample = {"start": _together(options)}
    Path(os.environ[RESULT]).write_text(json.dumps(sample | {"import docker": imported - began}))


def _together(options: argparse.Namespace) -> float:
    """Seconds from when all begin until the last has its daemon."""
    # Forked, so that docker-py is imported in all.
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(options.count)
    results: Any = context.SimpleQueue()
    processes = [
        context.Process(target=lambda: results.put(_measure(options, gate.wait)))
        for _ in range(options.count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("a daemon could not be started")
    measured = [results.get() for _ in processes]
    return float(
        max(in_hand for _, in_hand, _ in measured) - min(first for first, _, _ in measured)
    )


def _measure(options: argparse.Namespace, wait: Callable[[], object]) -> tuple[float, float, float]:
    """When a daemon was asked for, when its client was in hand, and what its removal took."""
    import docker

    name = f"pytest-dind-benchmark-{uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        wait()
        requested = time.monotonic()
        engine = docker.from_env()
        try:
            create(engine, options.image, name, home, runtime=options.runtime)
            engine.api.start(name)
            wait_until_ready(engine, name, Path(home, SOCKET))
            client = docker.DockerClient(base_url=f"unix://{home}/{SOCKET}")
            client.ping()
            if options.load:
                _load(engine, client, options.load)
            in_hand = time.monotonic()
            client.close()
        finally:
            over = time.monotonic()
            engine.api.remove_container(name, force=True, v=True)
            removed = time.monotonic() - over
            engine.close()
    return requested, in_hand, removed


def create(
    engine: docker.DockerClient,
    image: str,
    name: str,
    home: str,
    *arguments: str,
    runtime: str = "",
) -> None:
    """Create the container of a daemon.

    Args:
        engine: The outer engine.
        image: The daemon's image.
        name: The container's name.
        home: A directory of this machine, which gets the daemon's socket.
        arguments: Further ones of dockerd.
        runtime: The container's; where it is empty, the container is privileged.
    """
    from docker.types import Mount

    mounts = [Mount(_HOME, home, type="bind"), Mount("/var/lib/docker", None)]
    how: Mapping[str, Any] = {"runtime": runtime} if runtime else {"privileged": True}
    engine.api.create_container(
        image,
        # Behind the image's own entrypoint, where it has one.
        ["dockerd", f"--host=unix://{_HOME}/{SOCKET}", *arguments],
        name=name,
        host_config=engine.api.create_host_config(mounts=mounts, **how),
    )


def _load(engine: docker.DockerClient, daemon: docker.DockerClient, image: str) -> None:
    """`docker save | docker load`."""
    api: Any = daemon.api
    for event in api.load_image(engine.api.get_image(image)):
        if "error" in event or "message" in event:
            raise SystemExit(str(event))
    daemon.images.get(image)


def wait_until_ready(engine: docker.DockerClient, name: str, path: Path) -> None:
    """Wait until the daemon of this container answers on its socket."""
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
    main()
