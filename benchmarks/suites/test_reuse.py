"""A test as it is usually written, which names its fixture: what it waits for that."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import docker
import pytest

from benchmarks.processes import RESULT


@pytest.fixture(scope="session")
def requested() -> float:
    """When the first test asked for its fixtures; named first, so that it is the first."""
    return time.perf_counter()


def test_reuse(requested: float, dind_client: docker.DockerClient) -> None:
    """From there to a client that has pinged."""
    assert dind_client.ping()
    sample = {"start": time.perf_counter() - requested}
    Path(os.environ[RESULT]).write_text(json.dumps(sample))
