"""testcontainers-python: its generic container."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from .conftest import Stopwatch, answers, poll

_PORT = 2375
_READY = "API listen on"


@pytest.fixture(scope="session")
def defaults(image: str) -> Iterator[docker.DockerClient]:
    """A port, and the log for readiness, as in its documentation; it looks once a second."""
    container = (
        DockerContainer(image)
        .with_command(f"dockerd --host=tcp://0.0.0.0:{_PORT} --tls=false")
        .with_kwargs(privileged=True)
        .with_exposed_ports(_PORT)
        .waiting_for(LogMessageWaitStrategy(_READY))
    )
    with container:
        where = f"{container.get_container_host_ip()}:{container.get_exposed_port(_PORT)}"
        client = docker.DockerClient(base_url=f"tcp://{where}")
        yield client
        client.close()


@pytest.fixture(scope="session")
def best(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[docker.DockerClient]:
    """A volume mapping for a unix socket, and a poll interval of 10 ms."""
    home: Path = tmp_path_factory.mktemp("home")
    container = (
        DockerContainer(image)
        .with_command("dockerd --host=unix:///run/benchmark/s")
        .with_kwargs(privileged=True)
        .with_volume_mapping(str(home), "/run/benchmark", "rw")
        .waiting_for(LogMessageWaitStrategy(_READY).with_poll_interval(0.01))
    )
    with container:
        client = docker.DockerClient(base_url=f"unix://{home}/s", version="1.41")
        poll(lambda: answers(client), seconds=30, pause=0.01)
        yield client
        client.close()


@pytest.mark.parametrize("fixture", ["defaults", "best"])
def test_start(stopwatch: Stopwatch, fixture: str) -> None:
    """From the request for the fixture on."""
    stopwatch.start(fixture)
