"""The bound on a run's end."""

from __future__ import annotations

import threading
import time

import pytest

from pytest_dind.runs import ending
from pytest_dind.runs.ending import Patience


def _hang() -> None:
    threading.Event().wait()


def test_seconds() -> None:
    """The end of a run waits ten seconds in all for engines that don't answer."""
    assert ending.SECONDS == 10


def test_call_that_ends() -> None:
    """A call that ends is waited for, and its error is the caller's."""
    patience, called = Patience(), list[str]()

    assert patience.within(lambda: called.append("it"))
    assert called == ["it"]
    with pytest.raises(ConnectionError, match="gone"):
        patience.within(lambda: _fail(ConnectionError("gone")))
    assert not patience.is_out


def _fail(error: Exception) -> None:
    raise error


def test_call_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for in vain counts together; then nothing is asked any more."""
    monkeypatch.setattr(ending, "SECONDS", 0.3)
    patience, called = Patience(), list[str]()
    began = time.monotonic()

    assert not patience.within(_hang, at_most=0.1)
    assert not patience.is_out
    assert not patience.within(_hang)
    assert patience.is_out
    assert time.monotonic() - began == pytest.approx(0.3, abs=0.25)
    assert not patience.within(lambda: called.append("it"))
    assert called == []


def test_engine_that_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the engine answers, a call may take longer."""
    monkeypatch.setattr(ending, "SECONDS", 0.2)
    answers = iter(range(4))
    began = time.monotonic()
    ended = threading.Event()

    def answered() -> float:
        if next(answers, None) is None:
            ended.set()
        return time.monotonic()

    assert Patience().within(ended.wait, answered=answered)
    assert time.monotonic() - began > 0.5
