"""What a case is: a name, a way to take one sample, and the goals for its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .goals import Goal

Sample = Mapping[str, float]
"""One measurement: a figure's name and its seconds."""


class CaseFailed(Exception):
    """A case could not be measured, or left something behind."""


class CaseSkipped(Exception):
    """A case can't be measured here; the text says why, and what it takes."""


@dataclass(frozen=True)
class Bench:
    """What a case works with.

    Attributes:
        image: The daemon's image, under a name of this run's own: what a case makes from it is
            known by that name, and removed if the case does not do it.
        directory: An empty directory, for the whole run.
    """

    image: str
    directory: Path

    @property
    def double(self) -> str:
        """An image of twice the size, made for the run's cases that ask for it."""
        return f"{self.image}-double"


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
        name: As in `--only` and in the table.
        about: What is measured, for the reader of the results.
        sample: Measures once.
        figures: What a sample holds, in order, each with its goal where it has one.
        floor: The case it is compared with, sample by sample.
        least: Samples needed at least; more than one is taken in a round where rounds are few.
        peer: Whether it is another tool as it comes, for the plugin to be compared with.
        images: How large an image it loads, in daemon's images.
    """

    name: str
    about: str
    sample: Callable[[Bench], Sample]
    figures: Mapping[str, Goal | None]
    floor: str | None = None
    least: int = 1
    peer: bool = False
    images: int = 1
