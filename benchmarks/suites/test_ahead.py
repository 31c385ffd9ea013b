"""A suite that takes a while to be collected, and then what its first test waits for."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import docker
import pytest

from benchmarks.processes import RESULT

_COLLECTION_SECONDS = 0.6

# As modules of tests that are imported keep a processor busy.
_until = time.perf_counter() + _COLLECTION_SECONDS
while time.perf_counter() < _until:
    pass


@pytest.fixture(scope="session")
def requested() -> float:
    """When the first test asked for its fixtures; named first, so that it is the first."""
    return time.perf_counter()


def test_ahead(requested: float, dind_client: docker.DockerClient) -> None:
    """From there to a client that has pinged."""
    assert dind_client.ping()
    sample = {"start": time.perf_counter() - requested}
    Path(os.environ[RESULT]).write_text(json.dumps(sample))
