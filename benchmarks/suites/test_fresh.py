"""Tests that have a daemon each: what one waits for, and how many there are in a time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from benchmarks.processes import RESULT
from pytest_dind import Daemon

_WAITING, _MANY = 5, 20
_LONG_SECONDS, _SHORT_SECONDS = 0.7, 0.01


@pytest.fixture(scope="module")
def times() -> Iterator[list[tuple[float, float]]]:
    """When each test asked, and had its client."""
    found: list[tuple[float, float]] = []
    yield found
    over = time.perf_counter()
    sample = {
        # The first has no test before it.
        "in hand": median(in_hand - requested for requested, in_hand in found[1:]),
        "each": (over - found[0][0]) / len(found),
    }
    Path(os.environ[RESULT]).write_text(json.dumps(sample))


@pytest.fixture
def requested() -> float:
    """When a test asked for its fixtures; named first, so that it is the first."""
    return time.perf_counter()


def _use(times: list[tuple[float, float]], requested: float, daemon: Daemon) -> None:
    client = daemon.client()
    client.ping()
    times.append((requested, time.perf_counter()))
    client.close()


@pytest.mark.parametrize("number", range(_WAITING))
def test_in_hand(
    times: list[tuple[float, float]], number: int, requested: float, dind_fresh: Daemon
) -> None:
    """A test that takes long enough for the next one's daemon."""
    _use(times, requested, dind_fresh)
    time.sleep(_LONG_SECONDS)


@pytest.mark.parametrize("number", range(_MANY))
def test_throughput(
    times: list[tuple[float, float]], number: int, requested: float, dind_fresh: Daemon
) -> None:
    """A test that takes next to nothing."""
    _use(times, requested, dind_fresh)
    time.sleep(_SHORT_SECONDS)
