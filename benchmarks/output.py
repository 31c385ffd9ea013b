"""The results: a table for people, JSON for tools."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from .goals import milliseconds
from .outcome import PEER_GOAL, Outcome, Row, against_peers, rows

_HEAD = ("case", "figure", "floor", "median", "min", "max", "ratio", "goal", "measured", "verdict")


def table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table, aligned, and a line for each case that failed.

    Not why it failed: that may hold paths of the machine, and these files are published.
    """
    lines = [_HEAD, *(_cells(row) for row in rows(outcomes))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    ruler = tuple("-" * width for width in widths)
    text = [
        "| " + " | ".join(map(str.ljust, cells, widths)) + " |"
        for cells in (lines[0], ruler, *lines[1:])
    ]
    found = against_peers(outcomes, "dind", "start")
    if found is not None:
        peer, times = found
        verdict = "met" if times >= PEER_GOAL else "not met"
        text.append(
            f"\nThe fastest peer with its defaults, `{peer}`, takes {times:.1f} times as long to "
            f"start as `dind`; goal: {PEER_GOAL}, {verdict}."
        )
    text += [f"\nFailed: {outcome.case.name}." for outcome in failed(outcomes)]
    text += [
        f"\nLeft out: {outcome.case.name}: {outcome.skipped}"
        for outcome in outcomes
        if outcome.skipped
    ]
    return "\n".join(text)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.case,
        row.figure,
        row.floor,
        milliseconds(row.median),
        milliseconds(row.least),
        milliseconds(row.most),
        "" if row.ratio is None else f"{row.ratio:.2f}",
        row.goal,
        row.measured,
        {True: "met", False: "not met", None: "not known" if row.goal else ""}[row.met],
    )


def failed(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The cases that failed."""
    return [outcome for outcome in outcomes if outcome.error]


def write(
    directory: Path,
    outcomes: Sequence[Outcome],
    facts: Mapping[str, str],
    *,
    rounds: int,
    name: str = "",
) -> Path:
    """Write the results as JSON and as Markdown; without a name they are named after the cases.

    Returns:
        The Markdown file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    name = name or "-".join(outcome.case.name for outcome in outcomes)
    data = {
        "facts": dict(facts),
        "rounds": rounds,
        "cases": {outcome.case.name: outcome.case.about for outcome in outcomes},
        "figures": [dataclasses.asdict(row) for row in rows(outcomes)],
        "left out": {out.case.name: out.skipped for out in outcomes if out.skipped},
        "failed": [outcome.case.name for outcome in failed(outcomes)],
    }
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    (directory / f"{name}.json").write_text(text, encoding="utf-8")
    page = directory / f"{name}.md"
    page.write_text(_page(outcomes, facts, rounds), encoding="utf-8")
    return page


def _page(outcomes: Sequence[Outcome], facts: Mapping[str, str], rounds: int) -> str:
    counts = ", ".join(f"{out.case.name} {len(out.samples)}" for out in outcomes)
    return "\n".join(
        [
            "# Benchmark results",
            "",
            f"{rounds} rounds with the cases in turn, after one that doesn't count; samples: "
            f"{counts}. `ratio` is the median of the ratios to the floor's sample of the same "
            "round; `measured` is what is held against the goal, by pairs of the same round too.",
            "",
            table(outcomes),
            "",
            *(f"- `{outcome.case.name}`: {outcome.case.about}" for outcome in outcomes),
            "",
            "| machine | |",
            "| --- | --- |",
            *(f"| {key} | {value} |" for key, value in facts.items()),
            "",
        ]
    )
