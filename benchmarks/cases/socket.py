"""The plugin in mode socket: the outer engine itself, behind the guard."""

from __future__ import annotations

from ..case import Bench, Case, Sample
from ..goals import AtMost
from ..processes import suite


def _sample(bench: Bench) -> Sample:
    return suite(bench, "test_dind.py", "--dind-mode=socket", f"--dind-image={bench.image}")


CASE = Case(
    name="socket",
    about="As `dind`, in mode socket: there is no daemon to start, but a guard.",
    sample=_sample,
    figures={"start": AtMost(0.3), "teardown": None},
)
