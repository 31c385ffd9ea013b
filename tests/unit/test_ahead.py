"""The start in the background, apart from what it starts."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from types import FrameType

import pytest

from pytest_dind.ahead import Ahead
from pytest_dind.backends import creation


class _Interrupt(BaseException):
    """What a signal raises here."""


@pytest.fixture
def interrupt_soon() -> Iterator[None]:
    """A signal that raises in the main thread in a moment, whatever that waits for."""

    def raised(number: int, frame: FrameType | None) -> None:
        raise _Interrupt

    before = signal.signal(signal.SIGALRM, raised)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("interrupt_soon")
def test_interrupted_wait() -> None:
    """A start goes on when a Ctrl-C has broken off the waiting for it, and is known to go on."""
    gate = threading.Event()
    ahead = Ahead(gate.wait)  # type: ignore[arg-type]
    with pytest.raises(_Interrupt):
        ahead.wait()

    assert not ahead.wait(0)
    gate.set()
    assert ahead.wait(5)


def test_forked_child() -> None:
    """A child has nobody who would tell it that the start is done."""
    gate = threading.Event()
    ahead = Ahead(gate.wait)  # type: ignore[arg-type]
    child = os.fork()
    if not child:
        os._exit(int(ahead.is_here))
    _, status = os.waitpid(child, 0)
    gate.set()

    assert ahead.is_here
    assert os.waitstatus_to_exitcode(status) == 0


def test_call_that_is_interrupted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the first Ctrl-C nor the second leaves a request that is on its way."""
    waiting, interrupted = threading.Event(), threading.Event()
    done: list[bool] = []

    def waited(futures: list[Future[None]]) -> None:
        waiting.set()
        wait(futures)

    def call() -> None:
        for _ in range(2):
            assert waiting.wait(5)
            waiting.clear()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
            assert interrupted.wait(5)
            interrupted.clear()
        done.append(True)

    def noted(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        raise _Interrupt

    monkeypatch.setattr(creation, "wait", waited)
    before = signal.signal(signal.SIGALRM, noted)
    try:
        with pytest.raises(_Interrupt):
            creation.uninterrupted(call)
        assert done
    finally:
        signal.signal(signal.SIGALRM, before)
