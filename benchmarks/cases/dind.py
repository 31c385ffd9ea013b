"""The plugin in mode dind."""

from __future__ import annotations

from ..case import Bench, Case, Sample
from ..goals import AtMostAbove, AtMostTimes
from ..processes import suite


def _sample(bench: Bench) -> Sample:
    return suite(bench, "test_dind.py", "--dind-mode=dind", f"--dind-image={bench.image}")


CASE = Case(
    name="dind",
    about="The plugin in a pytest run of its own: from the request for `dind_client`, the first of "
    "the session, to a client that has pinged. Teardown is from the end of the last test to the "
    "end of pytest's session, all plugins included. Docker-py is imported before the clock "
    "starts, as in `floor`; the plugin's own modules and packages are not.",
    sample=_sample,
    figures={"start": AtMostTimes(1.15), "teardown": AtMostAbove(0.2)},
    floor="floor",
)
