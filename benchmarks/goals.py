"""Goals: what a figure must not exceed, seen from its floor or by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol


class Goal(Protocol):
    """A limit; its text is for the table."""

    def measure(self, values: Sequence[float], floor: Sequence[float]) -> float | None:
        """What is held against the limit; None where the floor is needed and missing."""

    def show(self, measured: float) -> str:
        """What was measured, in the words of the goal."""

    @property
    def limit(self) -> float:
        """The largest value that meets the goal."""


def ratio(values: Sequence[float], floor: Sequence[float]) -> float | None:
    """The median of the ratios of samples taken in the same round.

    A machine that is slow for a while is slow for both of a pair, so pairs say more than the
    ratio of two medians.
    """
    if not floor or len(floor) != len(values):
        return None
    return median(value / least for value, least in zip(values, floor, strict=True))


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds, with a decimal where it says something."""
    shown = seconds * 1000
    return f"{shown:.1f} ms" if abs(shown) < 100 else f"{shown:.0f} ms"


@dataclass(frozen=True)
class AtMostTimes:
    """At most so many times the floor."""

    limit: float

    def __str__(self) -> str:
        return f"≤ {self.limit:g} times floor"

    def measure(self, values: Sequence[float], floor: Sequence[float]) -> float | None:
        """The median ratio."""
        return ratio(values, floor)

    def show(self, measured: float) -> str:
        """As in the goal."""
        return f"{measured:.2f} times floor"


@dataclass(frozen=True)
class AtMostTimesOr:
    """At most so many times the floor, or so many seconds, whichever is larger."""

    times: float
    seconds: float
    limit: float = 1

    def __str__(self) -> str:
        return f"≤ {self.times:g} times floor or {self.seconds * 1000:g} ms"

    def measure(self, values: Sequence[float], floor: Sequence[float]) -> float | None:
        """The median share of what is allowed."""
        return ratio(values, [max(self.seconds, self.times * least) for least in floor])

    def show(self, measured: float) -> str:
        """As a share."""
        return f"{measured:.0%} of that"


@dataclass(frozen=True)
class AtMostTimesAnd:
    """At most so many times the floor, and so many seconds more."""

    times: float
    seconds: float
    limit: float = 1

    def __str__(self) -> str:
        return f"≤ {self.times:g} times floor + {self.seconds * 1000:g} ms"

    def measure(self, values: Sequence[float], floor: Sequence[float]) -> float | None:
        """The median share of what is allowed."""
        return ratio(values, [self.times * least + self.seconds for least in floor])

    def show(self, measured: float) -> str:
        """As a share."""
        return f"{measured:.0%} of that"


@dataclass(frozen=True)
class AtMostAbove:
    """At most so many seconds more than the floor."""

    limit: float

    def __str__(self) -> str:
        return f"≤ floor + {self.limit * 1000:g} ms"

    def measure(self, values: Sequence[float], floor: Sequence[float]) -> float | None:
        """The median difference of samples taken in the same round."""
        if not floor or len(floor) != len(values):
            return None
        return median(value - least for value, least in zip(values, floor, strict=True))

    def show(self, measured: float) -> str:
        """As in the goal."""
        return f"floor + {milliseconds(measured)}"


@dataclass(frozen=True)
class AtMost:
    """At most so many seconds."""

    limit: float

    def __str__(self) -> str:
        return f"≤ {self.limit * 1000:g} ms"

    def measure(self, values: Sequence[float], floor: Sequence[float]) -> float | None:
        """The median."""
        return median(values)

    def show(self, measured: float) -> str:
        """As in the goal."""
        return milliseconds(measured)
