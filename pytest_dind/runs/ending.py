"""The bound on a run's end: how long it waits, in all, for engines that don't answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

SECONDS = 10.0
"""What the end of a run waits in all for engines, and daemons, that give no answer."""


class Patience:
    """The seconds that the runs of a process have left to wait in vain at their end.

    What is answered costs nothing: an engine that removes fifty containers one after the other may
    take its time.
    """

    def __init__(self) -> None:
        self._left = SECONDS

    @property
    def is_out(self) -> bool:
        """Whether nothing is waited for any more: an engine has kept silent for too long."""
        return self._left <= 0

    def within(
        self,
        call: Callable[[], object],
        *,
        answered: Callable[[], float] = lambda: 0.0,
        at_most: float = SECONDS,
    ) -> bool:
        """Wait for a call that asks an engine, for as long as the engine goes on answering.

        Args:
            call: The call. It goes on in its thread when it is no longer waited for, which keeps
                no process alive.
            answered: When the engine has answered last, as `time.monotonic` has it.
            at_most: Seconds without an answer after which it is not waited for any more.

        Returns:
            Whether it ended in time; false also where nothing is asked any more.

        Raises:
            Exception: what the call raises.
        """
        if self.is_out:
            return False
        # Waited for instead of the thread, see `BackgroundStart`.
        ended = threading.Event()
        errors: list[BaseException] = []

        def run() -> None:
            try:
                call()
            except BaseException as error:
                errors.append(error)
            finally:
                ended.set()

        seconds, began = min(self._left, at_most), time.monotonic()
        threading.Thread(target=run, name="pytest-dind end", daemon=True).start()
        rest = seconds
        while not ended.wait(rest):
            rest = max(began, answered()) + seconds - time.monotonic()
            if rest <= 0:
                self._left -= seconds
                return False
        if errors:
            raise errors[0]
        return True
