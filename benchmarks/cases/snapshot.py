"""Copies of a prepared daemon, against empty ones."""

from __future__ import annotations

from ..case import Bench, Case, Sample
from ..goals import AtMostTimes
from ..processes import suite


def _sample(bench: Bench, test: str) -> Sample:
    own = ("--dind-mode=dind", f"--dind-image={bench.image}")
    return suite(bench, f"test_snapshot.py::{test}", *own)


FLOOR = Case(
    name="empty",
    about="`dind_factory()`: an empty daemon, without a pool, from the call to its return; the "
    "median of three.",
    sample=lambda bench: _sample(bench, "test_empty"),
    figures={"start": None},
)

CASE = Case(
    name="snapshot",
    about="`dind_factory(snapshot=...)`: a copy of a daemon with 500 MB in images, of five layers, "
    "and 50 MB in 500 files of a volume; the median of three. The snapshot has a key, so that the "
    "first sample alone prepares it, which is not counted.",
    sample=lambda bench: _sample(bench, "test_copy"),
    figures={"start": AtMostTimes(1.5)},
    floor="empty",
)
