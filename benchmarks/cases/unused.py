"""The plugin installed, in a run that doesn't use it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

from ..case import Bench, Case, Sample
from ..goals import AtMost
from ..processes import Spent, pytest, run

# Who goes first in a pair changes, so that a drift of the machine's speed favours neither.
_orders: Iterator[tuple[bool, bool]] = cycle([(True, False), (False, True)])


def _sample(bench: Bench) -> Sample:
    spent = {with_plugin: _run(bench, with_plugin) for with_plugin in next(_orders)}
    loaded, blocked = spent[True], spent[False]
    return {
        "wall": loaded.wall - blocked.wall,
        "cpu": loaded.cpu - blocked.cpu,
        "run with": loaded.wall,
        "run without": blocked.wall,
    }


def _run(bench: Bench, with_plugin: bool) -> Spent:
    test = bench.directory / "test_nothing.py"
    test.write_text("def test_nothing():\n    pass\n")
    without = [] if with_plugin else ["-p", "no:dind"]
    return run(pytest(bench, *without, str(test)), bench.directory)


CASE = Case(
    name="unused",
    about="What the plugin adds to a whole pytest process with one trivial test that uses no "
    "fixture of it, against the same with `-p no:dind`; in pairs, by turns the one and the other "
    "first. `run with` and `run without` are the whole processes; where the machine is noisy, the "
    "difference of their smallest values says more than the median of the pairs.",
    sample=_sample,
    figures={"wall": AtMost(0.008), "cpu": None, "run with": None, "run without": None},
    least=35,
)
