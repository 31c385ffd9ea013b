"""A daemon that an earlier run left for this one."""

from __future__ import annotations

import sys

import docker

from ..case import Bench, Case, Sample
from ..goals import AtMost
from ..processes import run, suite

_NAME = "benchmark"


def _sample(bench: Bench) -> Sample:
    own = ("--dind-mode=dind", f"--dind-image={bench.image}", f"--dind-reuse={_NAME}")
    try:
        suite(bench, "test_reuse.py", *own)
        return suite(bench, "test_reuse.py", *own)
    finally:
        for name in _left():
            run([sys.executable, "-m", "pytest_dind", "rm", name], bench.directory)


def _left() -> list[str]:
    """The reused daemon's container, by its name; one, unless a sample failed."""
    client = docker.from_env()
    try:
        found = client.api.containers(all=True, filters={"name": f"pytest-dind-reuse-{_NAME}-"})
    finally:
        client.close()
    return [item["Names"][0].lstrip("/") for item in found]


CASE = Case(
    name="reuse",
    about="The second of two runs with the same `--dind-reuse`, of a test that has `dind_client` "
    "as a parameter, as usual: from its request to a client that has pinged, on the daemon that "
    "the first left.",
    sample=_sample,
    figures={"start": AtMost(0.05)},
)
