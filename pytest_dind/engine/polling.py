"""The one loop in which a test process waits for something that it can only look at.

The reaper and the guard have loops of their own: their processes import the standard library alone,
or next to it, since each run waits for their start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


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
