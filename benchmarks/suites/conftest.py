"""The stopwatch of the suites: from a fixture's request to a client, and the teardown."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path

# Before the clock starts, here as in the raw floor: everybody who uses docker-py pays for it.
import docker
import pytest

from benchmarks.processes import IMAGE, RESULT, TOGETHER

_sample = pytest.StashKey[dict[str, float]]()
_over = pytest.StashKey[float]()
_result = Path(os.environ[RESULT] + os.environ.get("PYTEST_XDIST_WORKER", ""))
_WAIT_SECONDS = 60


class Stopwatch:
    """Takes the time of a fixture that gives a docker client."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def start(self, fixture: str, *, image: str = "") -> None:
        """Ask for the fixture, and measure until its client has pinged, and found the image."""
        if TOGETHER in os.environ:
            _meet(int(os.environ[TOGETHER]))
        requested = time.monotonic()
        client = self._request.getfixturevalue(fixture)
        assert isinstance(client, docker.DockerClient)
        client.ping()
        if image:
            client.images.get(image)
        in_hand = time.monotonic()
        sample = {"start": in_hand - requested}
        if TOGETHER in os.environ:
            sample |= {"requested": requested, "in hand": in_hand}
        self._request.config.stash[_sample] = sample


def _meet(count: int) -> None:
    """Wait until so many workers are here."""
    place = _result.parent / "here"
    place.mkdir(exist_ok=True)
    (place / _result.name).touch()
    poll(lambda: len(list(place.iterdir())) == count, seconds=_WAIT_SECONDS, pause=0.001)


def poll(condition: Callable[[], bool], *, seconds: float, pause: float) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(pause)


def answers(client: docker.DockerClient) -> bool:
    """Whether the daemon of a client pings."""
    try:
        return bool(client.ping())
    except (docker.errors.DockerException, OSError):
        return False


@pytest.fixture
def stopwatch(request: pytest.FixtureRequest) -> Stopwatch:
    """The stopwatch."""
    return Stopwatch(request)


@pytest.fixture(scope="session")
def image() -> str:
    """The daemon's image."""
    return os.environ[IMAGE]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """The teardown begins as the test has ended, before any fixture's."""
    item.config.stash[_over] = time.monotonic()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """The teardown ends when every plugin is done with the session."""
    yield
    finished = time.monotonic()
    stash = session.config.stash
    if _sample in stash:
        sample = stash[_sample] | {"teardown": finished - stash[_over]}
        _result.write_text(json.dumps(sample))
