"""The plugin, as its user gets it."""

from __future__ import annotations

# Before the clock starts: a test that names its fixture has them by then, and the peers theirs.
import pytest_dind.runs.run  # noqa: F401
from pytest_dind import Settings

from .conftest import Stopwatch


def test_start(stopwatch: Stopwatch, dind_config: Settings) -> None:
    """The first request of a session for a client, with the images that are asked for."""
    stopwatch.start("dind_client", image=next(iter(dind_config.load), ""))
