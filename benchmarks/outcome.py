"""What came of a case: its samples, their statistics, and whether the goals are met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from .case import Case, Sample
from .goals import ratio


@dataclass
class Outcome:
    """A case with the samples taken so far, and why there are no more if it failed."""

    case: Case
    samples: list[Sample] = field(default_factory=list)
    error: str = ""
    skipped: str = ""

    def values(self, figure: str) -> list[float]:
        """A figure's values, in the order they were taken."""
        return [sample[figure] for sample in self.samples]


@dataclass(frozen=True)
class Row:
    """A figure's statistics: seconds, the ratio to the floor, and the goal."""

    case: str
    figure: str
    floor: str
    values: Sequence[float]
    median: float
    least: float
    most: float
    ratio: float | None
    goal: str
    measured: str
    met: bool | None


def rows(outcomes: Sequence[Outcome]) -> Iterator[Row]:
    """A row for each figure of each case that has samples."""
    by_name = {outcome.case.name: outcome for outcome in outcomes}
    for outcome in outcomes:
        if outcome.samples:
            for figure in outcome.case.figures:
                yield _row(outcome, figure, by_name)


def _row(outcome: Outcome, figure: str, by_name: Mapping[str, Outcome]) -> Row:
    case = outcome.case
    values = outcome.values(figure)
    reference = by_name.get(case.floor) if case.floor else None
    floor = reference.values(figure) if reference else []
    goal = case.figures[figure]
    measured = goal.measure(values, floor) if goal else None
    return Row(
        case=case.name,
        figure=figure,
        floor=case.floor or "",
        values=values,
        median=median(values),
        least=min(values),
        most=max(values),
        ratio=ratio(values, floor),
        goal=str(goal) if goal else "",
        measured=goal.show(measured) if goal and measured is not None else "",
        met=measured <= goal.limit if goal and measured is not None else None,
    )


PEER_GOAL = 3
"""So many times faster than the fastest peer, with its defaults, is the goal."""


def against_peers(outcomes: Sequence[Outcome], name: str, figure: str) -> tuple[str, float] | None:
    """The fastest peer, and how many times as long it takes as a case; None without both."""
    by_name = {outcome.case.name: outcome for outcome in outcomes if outcome.samples}
    peers = [outcome for outcome in by_name.values() if outcome.case.peer]
    if not peers or name not in by_name:
        return None
    fastest = min(peers, key=lambda outcome: median(outcome.values(figure)))
    times = ratio(fastest.values(figure), by_name[name].values(figure))
    return None if times is None else (fastest.case.name, times)
