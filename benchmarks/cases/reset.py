"""What it takes to have a clean daemon for the next test."""

from __future__ import annotations

from ..case import Bench, Case, Sample
from ..goals import AtMost
from ..processes import suite


def _sample(bench: Bench) -> Sample:
    own = ("--dind-mode=dind", f"--dind-image={bench.image}", f"--dind-load={bench.image}")
    return suite(bench, "test_reset.py", *own)


CASE = Case(
    name="reset",
    about="`dind_clean`, from the end of a test until the daemon is as it was before: after a test "
    "that left nothing, and after one that left three running containers, a network and a volume. "
    "A tool without such a thing needs a teardown and a start instead.",
    sample=_sample,
    figures={"nothing": AtMost(0.05), "things": AtMost(0.5)},
)
