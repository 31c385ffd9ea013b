"""A daemon for each test, from the pool."""

from __future__ import annotations

from ..case import Bench, Case, Sample
from ..goals import AtMost, AtMostTimes
from ..processes import module, suite


def _sample(bench: Bench, test: str) -> Sample:
    own = ("--dind-mode=dind", f"--dind-image={bench.image}")
    return suite(bench, f"test_fresh.py::{test}", *own)


def _floor(bench: Bench) -> Sample:
    measured = module(bench, "raw", bench.image)
    return {"each": measured["start"] + measured["teardown"]}


CASE = Case(
    name="fresh",
    about="`dind_fresh`, where each test before took 0.7 s: from its request to a client that has "
    "pinged; the median of four tests, without the first.",
    sample=lambda bench: _sample(bench, "test_in_hand"),
    figures={"in hand": AtMost(0.05)},
)

FLOOR = Case(
    name="floor-each",
    about="As `floor`, start and teardown together.",
    sample=_floor,
    figures={"each": None},
)

THROUGHPUT = Case(
    name="fresh-throughput",
    about="Twenty tests of 10 ms, each with `dind_fresh`: what one takes, from the first request "
    "to the end of the last test, by their number.",
    sample=lambda bench: _sample(bench, "test_throughput"),
    figures={"each": AtMostTimes(1.1)},
    floor="floor-each",
)
