"""Several daemons at once."""

from __future__ import annotations

from importlib.util import find_spec

from ..case import Bench, Case, CaseSkipped, Sample
from ..goals import AtMostTimes
from ..processes import module, together

_COUNTS = (1, 2, 4, 8)


def _floor(bench: Bench) -> Sample:
    return {
        str(count): module(bench, "raw", bench.image, f"--count={count}")["start"]
        for count in _COUNTS
    }


def _sample(bench: Bench) -> Sample:
    if find_spec("xdist") is None:
        raise CaseSkipped("pytest-xdist is not installed")
    own = ("--dind-mode=dind", f"--dind-image={bench.image}")
    return {str(count): together(bench, "test_dind.py", count, *own) for count in _COUNTS}


FLOOR = Case(
    name="floor-at-once",
    about="As `floor`, so many at once, each in a process of its own: from when all begin until "
    "the last has its client.",
    sample=_floor,
    figures={str(count): None for count in _COUNTS},
)

CASE = Case(
    name="dind-at-once",
    about="So many xdist workers with `--dind-scope worker`: from when all ask for `dind_client` "
    "until the last has it.",
    sample=_sample,
    figures={str(count): AtMostTimes(1.2) if count == 8 else None for count in _COUNTS},
    floor="floor-at-once",
)
