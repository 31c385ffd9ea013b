"""How long dind_clean takes: `python -m benchmarks.clean`.

Goals: at most 50 ms when a test left nothing, at most 0.5 s for three running containers, a network
and a volume. The exit code is 1 when the median of a figure misses its goal.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

_NOTHING, _THINGS = "nothing left", "three containers, a network, a volume"
_BY_HAND = "the same by hand, one after the other"
_GOALS = {_NOTHING: 0.05, _THINGS: 0.5}

_SUITE = """
import time

import pytest


@pytest.fixture
def measured(request, dind_daemon):
    # Set up before dind_clean, so that it ends after it.
    began = []
    yield began
    with open("seconds", "a") as file:
        file.write(f"{request.node.originalname} {time.perf_counter() - began[0]}\\n")


@pytest.fixture
def dind_clean(measured, dind_clean):
    return dind_clean


@pytest.mark.parametrize("round", range(@ROUNDS@))
def test_nothing(measured, dind_clean, round):
    measured.append(time.perf_counter())


def make(client):
    network = client.networks.create("new")
    volume = client.volumes.create("new")
    containers = [
        client.containers.run("@IMAGE@", ["sleep", "600"], detach=True, name=name, network="new")
        for name in ("one", "two", "three")
    ]
    return containers, network, volume


@pytest.mark.parametrize("round", range(@ROUNDS@))
def test_things(measured, dind_clean, dind_client, round):
    make(dind_client)
    measured.append(time.perf_counter())


@pytest.mark.parametrize("round", range(@ROUNDS@))
def test_by_hand(measured, dind_client, round):
    containers, network, volume = make(dind_client)
    measured.append(time.perf_counter())
    for container in containers:
        container.remove(force=True, v=True)
    network.remove()
    volume.remove()
"""


def main() -> int:
    """Run the cases in turn and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default="pytest-dind/daemon:test", help="the daemon's image")
    parser.add_argument("--nested", default="pytest-dind/nested:test", help="one with sleep")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        suite = _SUITE.replace("@ROUNDS@", str(given.rounds)).replace("@IMAGE@", given.nested)
        (directory / "test_clean.py").write_text(suite)
        options = ["--dind-image", given.image, "--dind-load", given.nested]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
        subprocess.run(command, cwd=directory, check=True)
        lines = (directory / "seconds").read_text().splitlines()
    missed = False
    cases = (("test_nothing", _NOTHING), ("test_things", _THINGS), ("test_by_hand", _BY_HAND))
    for test, case in cases:
        seconds = [float(line.split()[1]) for line in lines if line.split()[0] == test]
        found, goal = median(seconds), _GOALS.get(case)
        missed |= goal is not None and found > goal
        beside = "" if goal is None else f", goal {goal * 1000:.0f} ms"
        print(f"{case}: median {found * 1000:.0f} ms of {len(seconds)}{beside}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
