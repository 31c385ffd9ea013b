"""The start in the background, apart from what it starts."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from pytest_dind.ahead import Ahead


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
