"""Three suites at once, each with a swarm and a Kubernetes, killed at random moments."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.storm import CLUSTERS, storms

pytestmark = pytest.mark.kubernetes

KILLS = int(os.environ.get("PYTEST_DIND_STORM_KILLS", 30))
SEED = os.environ.get("PYTEST_DIND_STORM_SEED")
"""Replays the storm that printed it."""

_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_INSTANCES = 1024


@pytest.fixture
def inotify_room() -> Iterator[None]:
    """A limit of inotify instances that nine nodes and as many daemons don't reach.

    A node has 13 of them, a daemon 5; Linux allows a user 128.
    """
    before = _INOTIFY.read_text()
    if int(before) < _INSTANCES:
        _INOTIFY.write_text(str(_INSTANCES))
    yield
    _INOTIFY.write_text(before)


# Six clusters at once keep two processors busy for minutes.
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("inotify_room")
def test_storm() -> None:
    """Nothing is left of their nodes, and of what runs in these."""
    seed = int(SEED) if SEED else random.randrange(2**32)
    print(f"replay with PYTEST_DIND_STORM_SEED={seed}")
    report = storms(3, count=KILLS, seed=seed, say=print, variants=[CLUSTERS])

    print(report)
    assert report.kills == KILLS
    assert report.leftovers == []
    assert report.failures == []
