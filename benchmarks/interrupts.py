"""Ctrl-C, when it may be acted on: not while the engine is at work for this process."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def later() -> Iterator[None]:
    """Put a Ctrl-C or a kill off to the end of the block.

    A request that is cut off is carried out all the same, and nobody knows of its container.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = [signal.signal(number, note) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
