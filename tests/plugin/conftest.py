"""What the runs of these tests have in common."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _alone(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests in their order, and do without plugins that are there for tests of their own."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:randomly -p no:hypothesispytest")
