"""The rounds: the cases in turn (A B C A B C), so that what the machine does meets all alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

from .case import Bench, Case, CaseFailed, CaseSkipped, Sample
from .outcome import Outcome

Measure = Callable[[Case, Bench], Sample]
"""Takes one sample of a case."""


def chosen(names: Sequence[str], known: Sequence[Case]) -> list[Case]:
    """The cases of these names, with the floors they are compared with; all where none is named."""
    if not names:
        return list(known)
    wanted = set(names)
    # A floor may have one itself.
    for case in reversed(known):
        if case.name in wanted and case.floor:
            wanted.add(case.floor)
    return [case for case in known if case.name in wanted]


def run(
    cases: Sequence[Case],
    bench: Bench,
    *,
    rounds: int,
    measure: Measure,
    say: Callable[[str], None],
) -> list[Outcome]:
    """Run the cases, after one round that doesn't count; a case that fails leaves the others."""
    outcomes = [Outcome(case) for case in cases]
    for number in range(rounds + 1):
        title = f"round {number} of {rounds}" if number else "warm-up"
        for outcome in outcomes:
            if outcome.error or outcome.skipped:
                continue
            case = outcome.case
            try:
                taken = [measure(case, bench) for _ in range(_samples(case, rounds, number))]
            except CaseSkipped as why:
                outcome.skipped = str(why)
                say(f"{title}: {case.name} is left out: {why}")
                continue
            except CaseFailed as error:
                outcome.error = str(error)
                say(f"{title}: {case.name} failed: {error}")
                continue
            figures = ", ".join(f"{key} {taken[-1][key] * 1000:.0f} ms" for key in case.figures)
            say(f"{title}: {case.name}: {figures}")
            if number:
                outcome.samples += taken
    return outcomes


def _samples(case: Case, rounds: int, number: int) -> int:
    return ceil(case.least / rounds) if number else 1
