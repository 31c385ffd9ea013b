"""The doctor on the real engine: what it proves, how long that takes, and that nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime import labels

from ..support import until
from .conftest import DeriveImage
from .projects import Project
from .traces import Traces

# It says which version there is, and tries a daemon out on it.
pytestmark = pytest.mark.cgroups

_TRIES = 3
"""A machine may be busy with other things; its best time is what counts."""


class _Doctor:
    """The command, with a temp dir of its own."""

    def __init__(self, room: Path, mode: str) -> None:
        self._temp = room / "t"
        self._temp.mkdir()
        self._mode = mode
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start it, in a process group of its own."""
        process = subprocess.Popen(
            [
                *(sys.executable, "-W", "error", "-m", "pytest_dind", "doctor"),
                *("--mode", self._mode, "--image", DAEMON_IMAGE, *options),
            ],
            env={**os.environ, "TMPDIR": str(self._temp)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def run(self, *options: str, code: int = 0) -> str:
        """Run it to its end; check the exit code, and give the output."""
        process = self.start(*options)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == code, output + errors
        return output

    def data(self, *options: str, code: int = 0) -> dict[str, Any]:
        """Run it, and give what it found."""
        found: dict[str, Any] = json.loads(self.run("--json", *options, code=code))
        return found

    def end(self) -> None:
        """End what is still there."""
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def doctor(room: Path, mode: str, traces: Traces) -> Iterator[_Doctor]:
    """The doctor; in the end nothing of it is left, neither on the engine nor in the temp dir."""
    doctor = _Doctor(room, mode)
    yield doctor
    doctor.end()
    traces.assert_nothing_left()


def _verdict(data: dict[str, Any], mode: str) -> dict[str, Any]:
    (found,) = (verdict for verdict in data["modes"] if verdict["mode"] == mode)
    return dict(found)


def _best(doctor: _Doctor, limit: float, *options: str) -> float:
    """The time it takes, at best; a try within the limit is enough."""
    seconds = float("inf")
    for _ in range(_TRIES):
        began = time.monotonic()
        doctor.run(*options)
        seconds = min(seconds, time.monotonic() - began)
        if seconds < limit:
            break
    return seconds


def test_quick(doctor: _Doctor, engine: Engine, mode: str) -> None:
    """Without a daemon it proves the mode, and says of the engine what that says itself."""
    data = doctor.data()
    info = engine.client.info()

    assert data["works"]
    assert data["mode"] == mode
    assert _verdict(data, mode) == {
        "mode": mode,
        "works": True,
        "cause": "",
        "evidence": "",
        "remedy": [],
        "daemon": None,
    }
    assert data["engine"]["version"] == info["ServerVersion"]
    assert data["engine"]["storage_driver"] == info["Driver"]
    assert data["engine"]["unprivileged"]
    assert data["engine"]["nested"] is None
    assert 0 < data["engine"]["space"]["free"] <= data["engine"]["space"]["total"]
    assert data["kernel"]["release"] == info["KernelVersion"]
    assert data["kernel"]["overlay"] == "present"


def test_full(doctor: _Doctor, mode: str) -> None:
    """In full a daemon of the mode starts, and a nested container runs, without a registry."""
    data = doctor.data("--full")
    daemon = _verdict(data, mode)["daemon"]

    assert data["works"]
    assert data["engine"]["nested"], data["modes"]
    assert daemon["version"]
    assert daemon["seconds"] > 0
    assert daemon["nested_seconds"] > 0
    # What the daemon showed is what was said before it. Whether packets come there in a second, is
    # a busy machine's matter.
    assert bool(daemon["address"]) == (not data["engine"]["ports"]["detour"])


def test_side_by_side(doctor: _Doctor) -> None:
    """Doctors that try the one engine that mode socket is don't get in each other's way."""
    started = [doctor.start("--full", "--mode", "socket") for _ in range(4)]
    for process in started:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, output + errors


def test_full_with_a_linked_shell(doctor: _Doctor, derive: DeriveImage, mode: str) -> None:
    """The nested image is made of what the image has: without busybox, of sh and its libraries."""
    image = derive('rm -f "$(command -v busybox)"; ! command -v busybox')
    data = doctor.data("--full", "--image", image)

    assert _verdict(data, mode)["daemon"]["nested_seconds"] > 0


def test_image_without_docker(doctor: _Doctor, derive: DeriveImage, mode: str) -> None:
    """Without the docker command in the image, nested containers can't be tried, and it says so."""
    image = derive('rm "$(command -v docker)"')
    output = doctor.run("--full", "--image", image)

    assert "nested containers were not tried: the image has no docker command" in output


@pytest.mark.requires_isolation
def test_image_without_dockerd(doctor: _Doctor) -> None:
    """An image that is none of a daemon shows when one is started."""
    data = doctor.data("--full", "--image", NESTED_IMAGE, code=1)

    assert not data["works"]
    assert "its image has no dockerd" in " ".join(verdict["cause"] for verdict in data["modes"])


# It is a second or two: other tests beside it would be measured too.
@pytest.mark.alone
def test_how_long_it_takes(doctor: _Doctor) -> None:
    """Under 3 s without a daemon, at most 10 s with one in each mode."""
    assert _best(doctor, 3) < 3
    assert _best(doctor, 10, "--full") <= 10


@pytest.mark.parametrize(("options", "role"), [((), "probe"), (("--full",), "daemon")])
def test_interrupted(
    doctor: _Doctor, engine: Engine, traces: Traces, options: tuple[str, ...], role: str
) -> None:
    """A Ctrl-C while a container is there ends it at once, and nothing is left."""
    process = doctor.start(*options)

    def is_there() -> bool:
        ours = set(traces.containers())
        found = engine.client.api.containers(all=True, filters={"label": f"{labels.ROLE}={role}"})
        return bool(ours & {item["Id"] for item in found}) or process.poll() is not None

    until(is_there, 30, f"a {role} container is there")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    traces.assert_nothing_left(seconds=2)


def test_option(project: Project, mode: str) -> None:
    """`pytest --dind-doctor` says the same, and runs no test."""
    project.write("def test_it(): raise AssertionError")
    output = project.run("--dind-doctor")

    assert f"--dind-mode={mode} works." in output
    assert "Kernel of " in output
