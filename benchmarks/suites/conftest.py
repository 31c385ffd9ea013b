"""The stopwatch of the suites: from a fixture's request to a client, and the teardown."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from pathlib import Path

# Before the clock starts, here as in the raw floor: everybody who uses docker-py pays for it.
import docker
import pytest

from benchmarks.processes import RESULT

_sample = pytest.StashKey[dict[str, float]]()
_over = pytest.StashKey[float]()


class Stopwatch:
    """Takes the time of a fixture that gives a docker client."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def start(self, fixture: str) -> None:
        """Ask for the fixture, and measure until its client has pinged the daemon."""
        requested = time.perf_counter()
        client = self._request.getfixturevalue(fixture)
        assert isinstance(client, docker.DockerClient)
        client.ping()
        in_hand = time.perf_counter()
        self._request.config.stash[_sample] = {"start": in_hand - requested}


@pytest.fixture
def stopwatch(request: pytest.FixtureRequest) -> Stopwatch:
    """The stopwatch."""
    return Stopwatch(request)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """The teardown begins as the test has ended, before any fixture's."""
    item.config.stash[_over] = time.perf_counter()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """The teardown ends when every plugin is done with the session."""
    yield
    finished = time.perf_counter()
    stash = session.config.stash
    if _sample in stash:
        sample = stash[_sample] | {"teardown": finished - stash[_over]}
        Path(os.environ[RESULT]).write_text(json.dumps(sample))
