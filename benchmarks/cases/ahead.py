"""A daemon that started beside collection, since the last run needed one."""

from __future__ import annotations

from ..case import Bench, Case, Sample
from ..goals import AtMost
from ..processes import suite


def _sample(bench: Bench) -> Sample:
    own = ("--dind-mode=dind", f"--dind-image={bench.image}")
    suite(bench, "test_ahead.py", *own, cached=True)
    return suite(bench, "test_ahead.py", *own, cached=True)


CASE = Case(
    name="ahead",
    about="The second of two runs with pytest's cache, of a suite whose collection keeps a "
    "processor busy for 0.6 s and whose first test has `dind_client` as a parameter: from its "
    "request to a client that has pinged.",
    sample=_sample,
    figures={"start": AtMost(0.05)},
)
