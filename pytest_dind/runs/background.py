"""A daemon's start in a background thread, while tests run that don't need it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..engine import steps

if TYPE_CHECKING:
    from ..daemon.handle import Daemon
    from ..engine import streams
    from ..settings import Settings

_SHOW_SECONDS = 0.5


class BackgroundStart:
    """A start of a daemon in a thread of its own.

    Args:
        settings: The daemon's settings.
        start: Starts a daemon of these settings.
    """

    def __init__(self, settings: Settings, start: Callable[[Settings], Daemon]) -> None:
        self.settings = settings
        self._start = start
        self._process = os.getpid()
        self._daemon: Daemon | None = None
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
            self._daemon = self._start(self.settings)
        except BaseException as error:
            self._error = error
        finally:
            self._done.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the start has ended or failed; return false when that took longer."""
        return self._done.wait(seconds)

    def result(self, progress: streams.Progress = len) -> Daemon:
        """Wait for the daemon and return it.

        Args:
            progress: Writes a progress line; shows meanwhile what the start tells.

        Raises:
            DindError: the daemon can't be had.
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
        assert self._daemon is not None
        return self._daemon
