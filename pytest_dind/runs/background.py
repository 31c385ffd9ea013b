"""The start of a daemon, or a cluster, in a background thread, beside tests that don't need it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from ..engine import steps

if TYPE_CHECKING:
    from ..engine import streams
    from ..settings import Settings

T = TypeVar("T")

_SHOW_SECONDS = 0.5
# Python has a thread wait 5 ms for one that computes, whenever it comes back from a call: a start
# has some fifty of these, and took up to 0.4 s longer beside collection. Where no thread waits, a
# shorter interval costs nothing.
_SWITCH_SECONDS = 0.0002


class _Turns:
    """How soon threads take turns: sooner than usual, while any daemon starts beside what runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._usual = 0.0

    @contextmanager
    def sooner(self) -> Iterator[None]:
        """Have threads take turns sooner."""
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(min(_SWITCH_SECONDS, self._usual))
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if not self._count:
                    sys.setswitchinterval(self._usual)


_turns = _Turns()


class BackgroundStart(Generic[T]):
    """A start of a daemon, or a cluster, in a thread of its own.

    Args:
        settings: The daemon's settings.
        start: Starts it with these settings.
    """

    def __init__(self, settings: Settings, start: Callable[[Settings], T]) -> None:
        self.settings = settings
        self._start = start
        self._process = os.getpid()
        self._started: T | None = None
        self._error: BaseException | None = None
        # Waited for instead of the thread: up to Python 3.12, a `join` that a Ctrl-C breaks off
        # takes a thread that goes on for one that has ended.
        self._done = threading.Event()
        # It doesn't keep the process alive: what it leaves behind goes with the run's lease.
        threading.Thread(target=self._run, name="pytest-dind", daemon=True).start()

    @property
    def is_in_this_process(self) -> bool:
        """Whether this process has the thread; a forked child has not."""
        return self._process == os.getpid()

    def _run(self) -> None:
        try:
            with _turns.sooner():
                self._started = self._start(self.settings)
        except BaseException as error:
            self._error = error
        finally:
            self._done.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the start has ended or failed; return false when that took longer."""
        return self._done.wait(seconds)

    def result(self, progress: streams.Progress = len) -> T:
        """Wait for what is started, and return it.

        Args:
            progress: Writes a progress line; shows meanwhile what the start tells.

        Raises:
            DindError: it can't be had.
        """
        waited = False
        try:
            while not self.wait(_SHOW_SECONDS):
                waited = True
                progress(steps.MEANWHILE)
        finally:
            if waited:
                progress(steps.Going())
        if self._error is not None:
            raise self._error
        assert self._started is not None
        return self._started
