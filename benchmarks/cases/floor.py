"""The raw floor: what any way to a daemon in a container costs."""

from __future__ import annotations

from ..case import Bench, Case, Sample
from ..processes import module


def _sample(bench: Bench) -> Sample:
    return module(bench, "raw", bench.image)


def _loaded(bench: Bench) -> Sample:
    return module(bench, "raw", bench.image, f"--load={bench.image}")


CASE = Case(
    name="floor",
    about="docker-py alone: connect to the engine, create and start a privileged container with "
    "dockerd on a unix socket in a bind-mounted directory and its data-root on an anonymous "
    "volume, ping every 10 ms, and a docker-py client that has pinged. Teardown is the removal, "
    "with force and volumes. Docker-py is imported before the clock starts; what that takes is "
    "shown by itself.",
    sample=_sample,
    figures={"start": None, "teardown": None, "import docker": None},
)

LOADED = Case(
    name="floor-loaded",
    about="The same, and the daemon's own image brought into it as `docker save | docker load` "
    "does.",
    sample=_loaded,
    figures={"start": None, "teardown": None},
    floor="floor",
)
