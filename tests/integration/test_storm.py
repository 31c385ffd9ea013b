"""The short storm; `python -m benchmarks.storm` is the long one."""

from __future__ import annotations

import os
import random

import pytest

from benchmarks.storm import DAEMONS, storms

KILLS = int(os.environ.get("PYTEST_DIND_STORM_KILLS", 30))
SEED = os.environ.get("PYTEST_DIND_STORM_SEED")
"""Replays the storm that printed it."""


@pytest.mark.long
def test_storm() -> None:
    """Of runs that are killed at random moments nothing is left five seconds later."""
    seed = int(SEED) if SEED else random.randrange(2**32)
    print(f"replay with PYTEST_DIND_STORM_SEED={seed}")
    report = storms(1, count=KILLS, seed=seed, say=print, variants=DAEMONS)

    print(report)
    assert report.kills == KILLS
    assert report.leftovers == []
    assert report.failures == []
