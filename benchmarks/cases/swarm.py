"""A swarm of three nodes."""

from __future__ import annotations

from ..case import Bench, Case, Sample
from ..goals import AtMostTimesAnd
from ..processes import module, suite

_NODES = 3


def _floor(bench: Bench) -> Sample:
    return {"start": module(bench, "raw", bench.image, f"--count={_NODES}")["start"]}


def _sample(bench: Bench) -> Sample:
    own = ("--dind-mode=dind", f"--dind-image={bench.image}", f"--dind-nodes={_NODES}")
    return suite(bench, "test_swarm.py", *own)


FLOOR = Case(
    name="floor-three",
    about="As `floor`, three daemons at once, each in a process of its own: from when all begin "
    "until the last has its client. They are in no swarm.",
    sample=_floor,
    figures={"start": None},
)

CASE = Case(
    name="swarm",
    about="From the request for `dind_swarm` to a client on the leader that has found three nodes "
    "Ready.",
    sample=_sample,
    figures={"start": AtMostTimesAnd(1.25, 0.5)},
    floor="floor-three",
)
