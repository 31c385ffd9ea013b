"""The start in the background, apart from what it starts."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from types import FrameType
from typing import Any

import pytest

from pytest_dind import Settings
from pytest_dind.engine import containers
from pytest_dind.runs.background import BackgroundStart


class _Interrupt(BaseException):
    """What a signal raises here."""


@pytest.fixture
def alarm() -> Iterator[None]:
    """SIGALRM raises in the main thread, whatever that waits for, and ends its timer."""

    def raised(number: int, frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise _Interrupt

    before = signal.signal(signal.SIGALRM, raised)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarm")
def test_interrupted_wait() -> None:
    """A start goes on when a Ctrl-C has broken off the waiting for it, and is known to go on."""
    gate = threading.Event()
    start = BackgroundStart(Settings(), lambda settings: gate.wait())

    def wait_and_be_interrupted() -> None:
        # Again and again: one that comes just before the wait begins does not break it off.
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        start.wait()

    with pytest.raises(_Interrupt):
        wait_and_be_interrupted()

    assert not start.wait(0)
    gate.set()
    assert start.wait(5)


def test_forked_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child has nobody who would tell it that the start is done."""
    start = BackgroundStart(Settings(), lambda settings: None)
    assert start.is_in_this_process
    assert start.wait(10)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert not start.is_in_this_process


def test_call_that_is_interrupted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the first Ctrl-C nor the second leaves a request that is on its way."""
    interrupts = [_Interrupt("first"), _Interrupt("second")]
    gate = threading.Event()
    done: list[bool] = []

    def waited(futures: list[Future[None]]) -> None:
        if interrupts:
            raise interrupts.pop(0)
        gate.set()
        wait(futures)

    monkeypatch.setattr(containers, "wait", waited)
    with pytest.raises(_Interrupt):
        containers.uninterrupted(lambda: done.append(gate.wait(5)))
    assert done == [True]


def test_threads_take_turns_sooner() -> None:
    """While any start goes on, threads take turns sooner, and as usual once all have ended."""
    # Tests before this one may have left a start that goes on: threads still take turns sooner.
    for thread in threading.enumerate():
        if thread.name == "pytest-dind":
            thread.join(10)
    usual = sys.getswitchinterval()
    gates = [threading.Event(), threading.Event()]

    def waits(gate: threading.Event) -> BackgroundStart[Any]:
        began = threading.Event()

        def start(settings: Settings) -> Any:
            began.set()
            gate.wait(30)

        background = BackgroundStart(Settings(), start)
        assert began.wait(10)
        return background

    starts = [waits(gate) for gate in gates]
    for start, gate in zip(starts, gates, strict=True):
        assert sys.getswitchinterval() < usual / 10
        gate.set()
        assert start.wait(10)
    assert sys.getswitchinterval() == usual
