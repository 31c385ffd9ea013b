"""What `dind_clean` adds to a test: where nothing was left, and where much was."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from benchmarks.processes import RESULT


@pytest.fixture(scope="session")
def seconds() -> Iterator[dict[str, float]]:
    """The sample: how long the reset took after each test."""
    sample: dict[str, float] = {}
    yield sample
    Path(os.environ[RESULT]).write_text(json.dumps(sample))


@pytest.fixture
def over(request: pytest.FixtureRequest, seconds: dict[str, float]) -> Iterator[list[float]]:
    """When the test was over; set up before `dind_clean`, so that it ends after that."""
    times: list[float] = []
    yield times
    seconds[request.node.name.removeprefix("test_")] = time.perf_counter() - times[0]


@pytest.fixture
def dind_clean(over: list[float], dind_clean: None) -> None:
    """The plugin's, after `over`."""


def test_nothing(dind_clean: None, dind_client: docker.DockerClient, over: list[float]) -> None:
    """A test that leaves nothing."""
    dind_client.ping()
    over.append(time.perf_counter())


def test_things(
    dind_clean: None, dind_client: docker.DockerClient, over: list[float], image: str
) -> None:
    """A test that leaves three running containers, a network and a volume."""
    dind_client.networks.create("new")
    dind_client.volumes.create("new")
    for name in ("one", "two", "three"):
        dind_client.containers.run(
            image, entrypoint=["sleep", "600"], detach=True, name=name, network="new"
        )
    over.append(time.perf_counter())
