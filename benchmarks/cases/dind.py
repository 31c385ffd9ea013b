"""The plugin in mode dind."""

from __future__ import annotations

import trustme

from ..case import Bench, Case, Sample
from ..goals import AtMostAbove, AtMostTimes, AtMostTimesOr
from ..processes import suite


def _sample(bench: Bench, *options: str) -> Sample:
    own = ("--dind-mode=dind", f"--dind-image={bench.image}")
    return suite(bench, "test_dind.py", *own, *options)


def _loaded(bench: Bench) -> Sample:
    return _sample(bench, f"--dind-load={bench.image}")


def _double(bench: Bench) -> Sample:
    return _sample(bench, f"--dind-load={bench.double}")


def _bare(bench: Bench) -> Sample:
    return _sample(bench, "--dind-mount=", "--dind-forward=off")


def _environment(bench: Bench) -> Sample:
    files = ("--dind-mount=project", "--dind-mount=tmp")
    return _sample(bench, *files, "--dind-forward=auto", "--dind-env=GIVEN=value")


def _authority(bench: Bench) -> Sample:
    authority = bench.directory / "authority.pem"
    if not authority.exists():
        trustme.CA().cert_pem.write_to_path(str(authority))
    return _sample(bench, "--dind-mount=", "--dind-forward=off", f"--dind-ca={authority}")


CASE = Case(
    name="dind",
    about="The plugin in a pytest run of its own: from the request for `dind_client`, the first of "
    "the session, to a client that has pinged. Teardown is from the end of the last test to the "
    "end of pytest's session, all plugins included. Docker-py is imported before the clock "
    "starts, as in `floor`, and so are the plugin's own modules: a test that names its fixture has "
    "them by then.",
    sample=_sample,
    figures={"start": AtMostTimes(1.15), "teardown": AtMostAbove(0.1)},
    floor="floor",
)

BARE = Case(
    name="dind-bare",
    about="The same without the suite's files and the forwarder.",
    sample=_bare,
    figures={"start": None, "teardown": None},
)

ENVIRONMENT = Case(
    name="environment",
    about="The same with files, the forwarder and a variable.",
    sample=_environment,
    figures={"start": AtMostAbove(0.03), "teardown": None},
    floor="dind-bare",
)

AUTHORITY = Case(
    name="dind-authority",
    about="The same without these, with an authority that the daemon trusts.",
    sample=_authority,
    figures={"start": AtMostAbove(0.03), "teardown": None},
    floor="dind-bare",
)

LOADED = Case(
    name="dind-loaded",
    about="The same with `--dind-load` of the daemon's own image, which the warm store has, and "
    "until the client has found it.",
    sample=_loaded,
    figures={"start": AtMostTimesOr(1.6, 1.0), "teardown": None},
    floor="floor",
)

DOUBLE = Case(
    name="dind-loaded-double",
    about="The same with an image of twice the size.",
    sample=_double,
    figures={"start": AtMostTimes(1.2), "teardown": None},
    floor="dind-loaded",
    images=2,
)
