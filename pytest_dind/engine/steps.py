"""What takes long, told while it goes on: how far it is, how fast, and how long it will take."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from . import streams

_AFTER_SECONDS = 2.0
"""What is done by then is not told of."""
_BETWEEN_SECONDS = 0.5
_MOST_SECONDS = 60
"""What goes on has a plain line after 2 s, 4 s, 8 s and so on, but one each so many seconds."""
_RATE_SECONDS = 10.0
"""The rate is that of the last so many seconds."""
_LEAST_SECONDS = 1.0
"""A rate of less than this says nothing."""


class Going(str):
    """A progress line on what goes on: the next takes its place, and an empty one says it ended.

    Attributes:
        seconds: Seconds since it began.
        is_waited_for: Whether the main thread waits for it.
    """

    seconds: float
    is_waited_for: bool

    def __new__(cls, text: str = "", seconds: float = 0, *, is_waited_for: bool = True) -> Going:
        """Make it of a text."""
        line = super().__new__(cls, text)
        line.seconds, line.is_waited_for = seconds, is_waited_for
        return line


MEANWHILE = ""
"""A progress line of a main thread that waits for another: it shows what that has told."""


class Plain:
    """Writes progress lines one below the other: of those on what goes on, fewer and fewer.

    Args:
        write: Writes a line.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._due = 0.0

    def __call__(self, text: str) -> None:
        """Take a line."""
        if self._is_due(text) and text:
            self._write(text)

    def _is_due(self, text: str) -> bool:
        if not isinstance(text, Going):
            return True
        if not text.seconds:
            self._due = _AFTER_SECONDS
            return True
        if text.seconds < self._due:
            return False
        self._due = text.seconds + min(text.seconds, _MOST_SECONDS)
        return True


class Step:
    """Something that goes on, and may take long; a context manager.

    `at` and `say` may be called by any thread. A line is only written by `tick`, which whoever
    waits for it calls often; who can't, as an engine is silent, has a thread for it on a terminal.

    Args:
        progress: Writes a progress line; it has an attribute `is_live` that is true on a terminal.
        what: What goes on, for the line.
        at_once: Whether there is a first line when it begins, which a terminal does not show.
        silent: Whether who waits may be unable to call `tick`.

    Attributes:
        here: The bytes that are done; None where none are counted.
    """

    def __init__(
        self,
        progress: streams.Progress,
        what: str,
        *,
        at_once: bool = False,
        silent: bool = False,
    ) -> None:
        self._progress = progress
        self._what = what
        self._is_waited_for = threading.current_thread() is threading.main_thread()
        self._ticker: threading.Thread | None = None
        self._ended = threading.Event()
        if silent and getattr(progress, "is_live", False):
            self._ticker = threading.Thread(target=self._tick_on, daemon=True)
        self._began = time.monotonic()
        self._due = self._began + _AFTER_SECONDS
        self._is_told = at_once
        self.here: int | None = None
        self._total = 0
        self._detail = ""
        self._rate = Rate()

    def __enter__(self) -> Step:
        if self._is_told:
            self._progress(Going(self._what, is_waited_for=self._is_waited_for))
        if self._ticker is not None:
            self._ticker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._ticker is not None:
            self._ticker.join()
        if self._is_told:
            self._progress(Going(is_waited_for=self._is_waited_for))

    def _tick_on(self) -> None:
        pause = _AFTER_SECONDS
        while not self._ended.wait(pause):
            self.tick()
            pause = _BETWEEN_SECONDS

    def at(self, here: int, total: int = 0, detail: str = "") -> None:
        """Note how far it is.

        Args:
            here: The bytes that are done.
            total: All bytes; 0 where that is not known.
            detail: What is to be said beside.
        """
        self.here, self._total, self._detail = here, total, detail

    def counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same bytes, noted as they go."""
        here = 0
        for chunk in chunks:
            yield chunk
            here += len(chunk)
            self.at(here)

    def say(self, detail: str) -> None:
        """Note what it does."""
        self._detail = detail

    def tick(self) -> None:
        """Write a line if one is due."""
        now = time.monotonic()
        if now >= self._due:
            self._due, self._is_told = now + _BETWEEN_SECONDS, True
            line = Going(self._line(now), now - self._began, is_waited_for=self._is_waited_for)
            self._progress(line)

    def _line(self, now: float) -> str:
        if self.here is None:
            told = [f"{now - self._began:.0f} s", self._detail]
        else:
            rate = self._rate.at(self.here, now)
            told = [_amount(self.here, self._total), *_pace(self.here, self._total, rate)]
            told.append(self._detail)
        return f"{self._what}: {', '.join(filter(None, told))}"


class Rate:
    """The rate at which bytes come."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def at(self, here: int, now: float) -> float | None:
        """Bytes in a second, given how many are here now; None while that is not known."""
        samples = self._samples
        samples.append((now, here))
        while len(samples) > 2 and samples[1][0] <= now - _RATE_SECONDS:
            samples.popleft()
        began, before = samples[0]
        return (here - before) / (now - began) if now - began >= _LEAST_SECONDS else None


def _amount(here: int, total: int) -> str:
    done = f"{here / streams.MEGA:.0f}"
    return f"{done} of {total / streams.MEGA:.0f} MB" if total else f"{done} MB"


def _pace(here: int, total: int, rate: float | None) -> list[str]:
    """The rate, and the time that is left."""
    if rate is None or (total and here >= total):
        return []
    told = [f"{rate / streams.MEGA:.1f} MB/s"]
    if total and rate > 0:
        told.append(f"{duration((total - here) / rate)} left")
    return told


def duration(seconds: float) -> str:
    """A time as one reads it at a glance."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.0f} h"
