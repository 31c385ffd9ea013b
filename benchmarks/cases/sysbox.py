"""The plugin in mode sysbox, against the same raw floor under Sysbox."""

from __future__ import annotations

import docker

from pytest_dind.backends.sysbox import RUNTIME

from ..case import Bench, Case, CaseSkipped, Sample
from ..goals import AtMostAbove, AtMostTimes
from ..processes import module, suite


def _need_sysbox() -> None:
    client = docker.from_env()
    try:
        registered = RUNTIME in client.info()["Runtimes"]
    finally:
        client.close()
    if not registered:
        raise CaseSkipped(f"the engine has no runtime {RUNTIME}")


def _floor(bench: Bench) -> Sample:
    _need_sysbox()
    return module(bench, "raw", bench.image, f"--runtime={RUNTIME}")


def _sample(bench: Bench, *options: str) -> Sample:
    _need_sysbox()
    own = ("--dind-mode=sysbox", f"--dind-image={bench.image}")
    return suite(bench, "test_dind.py", *own, *options)


def _loaded(bench: Bench) -> Sample:
    return _sample(bench, f"--dind-load={bench.image}")


FLOOR = Case(
    name="floor-sysbox",
    about=f"As `floor`, in a container under {RUNTIME}, without privilege.",
    sample=_floor,
    figures={"start": None, "teardown": None},
)

CASE = Case(
    name="sysbox",
    about="As `dind`, in mode sysbox. Its start includes the proof that it is Sysbox.",
    sample=_sample,
    figures={"start": AtMostTimes(1.15), "teardown": AtMostAbove(0.1)},
    floor="floor-sysbox",
)

LOADED = Case(
    name="sysbox-loaded",
    about="As `dind-loaded`, in mode sysbox.",
    sample=_loaded,
    figures={"start": AtMostTimes(1.8), "teardown": None},
    floor="floor-sysbox",
)
