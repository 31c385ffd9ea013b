"""The plugin, as its user gets it."""

from __future__ import annotations

from .conftest import Stopwatch


def test_start(stopwatch: Stopwatch) -> None:
    """The first request of a session for a client."""
    stopwatch.start("dind_client")
