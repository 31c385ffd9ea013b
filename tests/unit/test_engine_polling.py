"""The loop in which a test process waits."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_dind.engine import polling
from pytest_dind.engine.polling import Stuck, poll


def test_found() -> None:
    """The first look that gives something ends the wait, even if that is false."""
    looks: list[bool | None] = [None, None, False, True]

    assert poll(lambda: looks.pop(0), seconds=10, every=0) is False
    assert looks == [True]


def test_time_is_up() -> None:
    """There is one look at least, and none once the time is up."""
    looks: list[None] = []

    assert poll(lambda: looks.append(None), seconds=0, every=0) is None
    assert looks == [None]


def test_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the way counts once it has been for three seconds, without a break."""
    now = [10.0]
    monkeypatch.setattr(polling, "time", SimpleNamespace(monotonic=lambda: now[0]))
    stuck = Stuck()

    def told(seconds: float, why: str) -> str:
        now[0] += seconds
        return stuck.too_long(why)

    assert told(0, "no room") == ""
    assert told(2.9, "no room") == ""
    assert told(0.1, "no room still") == "no room still"
    assert told(0, "") == ""
    assert told(5, "no room") == ""
