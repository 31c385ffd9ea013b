"""pytest-docker-tools: its fixture factories."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from pytest_docker_tools import container, volume

from benchmarks.processes import IMAGE

from .conftest import Stopwatch, answers, poll

_PORT = 2375
_HOME = tempfile.mkdtemp(prefix="bench-")
_ROOT = {"bind": "/var/lib/docker", "mode": "rw"}

# Without a volume by name it leaves the one that the image declares.
data = volume(scope="session")

on_port = container(
    image=os.environ[IMAGE],
    command=["dockerd", f"--host=tcp://0.0.0.0:{_PORT}", "--tls=false"],
    privileged=True,
    ports={f"{_PORT}/tcp": None},
    volumes={"{data.name}": _ROOT},
    scope="session",
)

on_socket = container(
    image=os.environ[IMAGE],
    command=["dockerd", "--host=unix:///run/benchmark/s"],
    privileged=True,
    volumes={"{data.name}": _ROOT, _HOME: {"bind": "/run/benchmark", "mode": "rw"}},
    scope="session",
)


@pytest.fixture(scope="session")
def defaults(on_port: Any) -> Iterator[docker.DockerClient]:
    """It waits for the port itself, looking once a second."""
    where = f"127.0.0.1:{on_port.ports[f'{_PORT}/tcp'][0]}"
    client = docker.DockerClient(base_url=f"tcp://{where}", version="1.41")
    poll(lambda: answers(client), seconds=30, pause=0.1)
    yield client
    client.close()


@pytest.fixture(scope="session")
def best(on_socket: Any) -> Iterator[docker.DockerClient]:
    """Without a port it waits until the container runs; the rest is polled every 10 ms."""
    client = docker.DockerClient(base_url=f"unix://{_HOME}/s", version="1.41")
    poll(lambda: answers(client), seconds=30, pause=0.01)
    yield client
    client.close()


@pytest.mark.parametrize("fixture", ["defaults", "best"])
def test_start(stopwatch: Stopwatch, fixture: str) -> None:
    """From the request for the fixture on."""
    stopwatch.start(fixture)
