"""The boot, hidden: a daemon that starts while tests run that don't need it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .daemon import Daemon


class Ahead:
    """A daemon on its way, in a thread of its own.

    Args:
        start: Starts it.
    """

    def __init__(self, start: Callable[[], Daemon]) -> None:
        self._start = start
        self._daemon: Daemon | None = None
        self._error: BaseException | None = None
        # It doesn't keep the process alive: what it leaves behind goes with the run's lease.
        self._thread = threading.Thread(target=self._run, name="pytest-dind", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._daemon = self._start()
        except BaseException as error:
            self._error = error

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is there, or failed to be; false when that took longer."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> Daemon:
        """The daemon, once it is there.

        Raises:
            DindError: it can't be had.
        """
        self.wait()
        if self._error is not None:
            raise self._error
        assert self._daemon is not None
        return self._daemon
