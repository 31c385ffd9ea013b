"""The one loop in which a test process waits for something that it can only look at.

The reaper and the guard have loops of their own: their processes import the standard library alone,
or next to it, since each run waits for their start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# A node that joins or comes back, or what ends, may make room; what is missing may be made.
_STUCK_SECONDS = 3


def poll(look: Callable[[], T | None], *, seconds: float, every: float) -> T | None:
    """Look again and again until a look gives something; None when the time is up.

    Args:
        look: Gives None for "not yet".
        seconds: The time.
        every: Seconds between two looks.
    """
    # Late: its import takes some milliseconds, and most that is imported here waits for nothing.
    from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

    waiting = Retrying(
        stop=stop_after_delay(seconds),
        wait=wait_fixed(every),
        retry=retry_if_result(lambda found: found is None),
        retry_error_callback=lambda state: None,
    )
    return waiting(look)


class Stuck:
    """What is in the way of something that is waited for, and may go by itself: not at once."""

    def __init__(self) -> None:
        self._since: float | None = None

    def too_long(self, why: str) -> str:
        """Return what is in the way once something has been, without a break, for too long.

        Args:
            why: What is in the way now; empty for nothing.
        """
        now = time.monotonic()
        self._since = (self._since or now) if why else None
        return why if self._since is not None and now - self._since >= _STUCK_SECONDS else ""
