"""What the runs of these tests have in common."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _in_order(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests in their order, since pytest-randomly is installed for a test of its own."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:randomly")
