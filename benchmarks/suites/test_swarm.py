"""A swarm of several nodes: from its request to all of them Ready."""

from __future__ import annotations

import pytest

# Before the clock starts, as in the other suites.
import pytest_dind.runs.run
import pytest_dind.runs.swarms  # noqa: F401

from .conftest import Stopwatch


@pytest.fixture(scope="session")
def client(request: pytest.FixtureRequest) -> object:
    """A client on the leader of a swarm whose nodes are Ready."""
    swarm = request.getfixturevalue("dind_swarm")
    found = swarm.client
    states = [node["Status"]["State"] for node in found.api.nodes()]
    assert states == ["ready"] * len(swarm.nodes)
    return found


def test_swarm(stopwatch: Stopwatch) -> None:
    """The first request of the session."""
    stopwatch.start("client")
