"""The summary's lines, as they come from several workers."""

from __future__ import annotations

from pytest_dind.report import merged


def test_lines_of_workers() -> None:
    """What all say is said once; daemons that took equally long are daemons all the same."""
    mode, ready = "dind: mode dind", "dind: daemon 'main' ready in 0.55 s (mode dind)"
    assert merged([mode, ready, mode, ready]) == [mode, ready, ready]
