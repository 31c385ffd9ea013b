"""A policy of the guard, for tests of its rules."""

from __future__ import annotations

from pathlib import Path

from pytest_dind.guard.rules.policy import Policy


def policy(root: Path = Path("/nowhere"), *allowed: str, guard: str = "own") -> Policy:
    """A policy with this root of binds, and what is allowed besides."""
    return Policy(
        guard=guard,
        allow=frozenset(allowed),
        roots=(str(root),),
        engine="/var/run/docker.sock",
        socket="/base/run/main/docker.sock",
        private="/base",
    )
