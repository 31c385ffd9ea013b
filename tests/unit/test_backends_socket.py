"""Mode socket: what is said of the engine that a guard is before."""

from __future__ import annotations

import pytest

from pytest_dind.backends import socket


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("1.41", []),
        ("1.56", []),
        ("1.57", ["the engine's API is 1.57; clients of the guard have 1.56"]),
        ("1.100", ["the engine's API is 1.100; clients of the guard have 1.56"]),
    ],
)
def test_newer_api(version: str, said: list[str]) -> None:
    """An engine with a newer API than the guard knows is served all the same, and it is told."""
    lines: list[str] = []
    socket._tell_of_newer_api(version, lines.append)

    assert lines == said
