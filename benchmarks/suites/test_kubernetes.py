"""A Kubernetes cluster of several nodes: from its request to what its fixture promises of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

# Before the clock starts, as in the other suites.
import pytest_dind.runs.clusters
import pytest_dind.runs.run  # noqa: F401

from .conftest import Stopwatch


@pytest.fixture(scope="session")
def client(request: pytest.FixtureRequest) -> Iterator[object]:
    """A client on the daemon of a cluster that is ready."""
    cluster = request.getfixturevalue("dind_kubernetes")
    client = cluster.daemon.client()
    assert len(client.containers.list()) == len(cluster.nodes)
    yield client
    client.close()


def test_kubernetes(stopwatch: Stopwatch) -> None:
    """The first request of the session."""
    stopwatch.start("client")
