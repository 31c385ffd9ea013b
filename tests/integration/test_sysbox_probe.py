"""What is registered as Sysbox's runtime and isn't, on engines that are daemons of this plugin."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from conftest import NESTED_IMAGE
from pytest_dind.backends.probe import ProbeResult
from pytest_dind.backends.registry import Obstacle, Probe, check
from pytest_dind.backends.sysbox import RUNTIME
from pytest_dind.engine import images
from pytest_dind.engine.engine import Engine

from ..support import until
from .conftest import StartDaemon, Started
from .projects import Project
from .traces import created

# Their engines are daemons of mode dind: runc in one of Sysbox is in a user namespace too.
pytestmark = pytest.mark.dind_modes("dind")

_REGISTERED = f"--add-runtime={RUNTIME}="


class _Outer:
    """A daemon that serves as an outer engine, with the image of the probe in it."""

    def __init__(self, started: Started, machine: Engine) -> None:
        self.started = started
        self.engine = Engine(started.daemon.host)
        images.ImageSource(machine.client, print).load(self.engine.client, [NESTED_IMAGE])

    def check(self, probe: type[Probe] = Probe) -> Obstacle:
        """What the probe finds to be wrong with its Sysbox."""
        run = self.started.home.path / "0123abcd"
        found = check("sysbox", self.engine, probe(self.engine, NESTED_IMAGE, run, print))
        assert found is not None
        return found

    def doctor(self, *options: str, **env: str) -> dict[str, Any]:
        """What the doctor says of it."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest_dind", "doctor", "--json", *options),
                *("--host", self.engine.url, "--image", NESTED_IMAGE),
            ],
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if found["works"] else 1), done.stderr
        return found

    def containers(self) -> list[str]:
        """All containers on it."""
        return [item["Id"] for item in self.engine.client.api.containers(all=True)]


@pytest.fixture
def outer(start: StartDaemon, engine: Engine, mode: str) -> Iterator[Callable[[str], _Outer]]:
    """Start a daemon in which a program is registered as Sysbox's runtime."""
    if mode != "dind":
        pytest.skip("a daemon under Sysbox hands its user namespace on to all its containers")
    with contextlib.ExitStack() as ends:

        def outer(program: str) -> _Outer:
            made = _Outer(start(arg=[f"{_REGISTERED}{program}"]), engine)
            ends.enter_context(closing(made.engine))
            return made

        yield outer


def test_plain_runc(outer: Callable[[str], _Outer]) -> None:
    """Plain runc under Sysbox's name is refused as not Sysbox, and its probe is gone."""
    engine = outer("runc")
    found = engine.check()

    assert found.cause == f"what is registered as {RUNTIME} is not Sysbox"
    assert "root is the host's root" in found.evidence
    assert any("daemon.json" in remedy for remedy in found.remedy)
    assert engine.containers() == []


def test_program_is_missing(outer: Callable[[str], _Outer]) -> None:
    """A runtime whose program is missing is told apart, with the engine's words."""
    engine = outer("/nowhere/sysbox-runc")
    found = engine.check()

    assert found.cause == f"{RUNTIME} is registered, but its program is missing"
    assert "/nowhere/sysbox-runc" in found.evidence
    assert any("Correct the path" in remedy for remedy in found.remedy)
    assert engine.containers() == []


class _Hasty(Probe):
    """A probe that waits for less long."""

    def __call__(self, command: Sequence[str], **options: Any) -> ProbeResult:
        return super().__call__(command, **{**options, "seconds": 2})


def test_runtime_that_hangs(outer: Callable[[str], _Outer]) -> None:
    """A runtime that hangs is given up in the probe's own time; the container goes with the hang.

    The engine removes nothing while its runtime doesn't answer, but it has been asked to.
    """
    engine = outer("/run/pytest-dind/hang")
    released = engine.started.home.path / "released"
    hang = engine.started.home.path / "hang"
    # Ends with its container at the latest, and by itself if the test does not come to that.
    hang.write_text(
        "#!/bin/sh\nfor i in $(seq 600); do\n"
        "[ -e /run/pytest-dind/released ] && exit 1\nsleep 0.1\ndone\n"
    )
    hang.chmod(0o755)
    began = time.monotonic()
    found = engine.check(_Hasty)
    seconds = time.monotonic() - began
    released.touch()

    assert found.cause == f"a container under {RUNTIME} hangs"
    assert any("systemctl restart sysbox" in remedy for remedy in found.remedy)
    assert seconds < 15
    until(lambda: engine.containers() == [], 30, "the probe's container is gone")


@pytest.mark.alone
def test_mode_that_is_not_there(project: Project, engine: Engine) -> None:
    """`--dind-mode=sysbox` where it isn't: one error at once, the cause, and three ways on."""
    if RUNTIME in engine.client.info()["Runtimes"]:
        pytest.skip(f"this engine has {RUNTIME}")
    project.write("def test_it(dind_client): pass")
    began = time.monotonic()
    output = project.run("--dind-mode=sysbox", code=1)
    seconds = time.monotonic() - began

    assert output.count("Mode sysbox is not available: the runtime") == 1
    for way in ("Install Sysbox", "--dind-mode auto", "--dind-mode dind"):
        assert way in output
    assert seconds < 8


def test_start_under_plain_runc(project: Project, outer: Callable[[str], _Outer]) -> None:
    """A start that fails since the runtime isn't Sysbox is told as that, and leaves nothing."""
    project.write("def test_it(dind_client): pass\ndef test_too(dind_client): pass")
    engine = outer("runc")
    output = project.run(
        *("--dind-mode=sysbox", f"--dind-image={NESTED_IMAGE}"),
        f"--dind-host={engine.engine.url}",
        code=1,
        env={"TMPDIR": engine.started.shared_temp_dir()},
    )

    what = f"Mode sysbox is not available: what is registered as {RUNTIME} is not Sysbox."
    assert output.count(what) == 2
    assert "During handling" not in output
    assert engine.containers() == []


def test_image_that_cannot_be_pulled(project: Project, outer: Callable[[str], _Outer]) -> None:
    """A probe whose image can't be had says so, with the image's name."""
    project.write("def test_it(dind_client): pass")
    output = project.run(
        *("--dind-mode=sysbox", "--dind-image=pytest-dind/none:none"),
        f"--dind-host={outer('runc').engine.url}",
        code=1,
    )

    assert "The image 'pytest-dind/none:none' is not on the outer engine" in output


def test_doctor(outer: Callable[[str], _Outer]) -> None:
    """The doctor gives the probe's cause, and proves what works on the same engine."""
    engine = outer("runc")
    data = engine.doctor(TMPDIR=engine.started.shared_temp_dir())
    verdicts = {verdict["mode"]: verdict for verdict in data["modes"]}
    sysbox, dind = verdicts["sysbox"], verdicts["dind"]

    assert not sysbox["works"]
    assert sysbox["cause"] == f"what is registered as {RUNTIME} is not Sysbox"
    assert (dind["works"], data["mode"]) == (True, "dind")
    assert RUNTIME in data["engine"]["runtimes"]
    assert engine.containers() == []


def test_doctor_on_an_engine_elsewhere(outer: Callable[[str], _Outer], room: Path) -> None:
    """Directories that an engine doesn't have stand in no way: its daemons are reached over TLS."""
    engine = outer("runc")
    data = engine.doctor("--mode", "dind", TMPDIR=str(room))
    dind = next(verdict for verdict in data["modes"] if verdict["mode"] == "dind")

    assert dind["cause"] == ""
    assert data["engine"]["privileged"]
    assert data["works"]
    assert engine.containers() == []


# What a container under Sysbox shows of itself; no daemon would start in it.
_FAKE = """#!/bin/sh
for argument; do
    [ "$before" != --bundle ] || sed -i 's#cat /proc/self/uid_map /proc/self/mountinfo#'\
'echo 0 100000 65536; echo sysboxfs#' "$argument/config.json"
    before=$argument
done
exec runc "$@"
"""


def test_memory(project: Project, outer: Callable[[str], _Outer], room: Path) -> None:
    """A proof holds for later runs, and no longer than the engine runs; the doctor gives one anew.

    All say the same, also where the engine doesn't see the tests' directories.
    """
    engine = outer("/run/pytest-dind/fake")
    fake = engine.started.home.path / "fake"
    fake.write_text(_FAKE)
    fake.chmod(0o755)
    project.write(
        """
        import pytest

        @pytest.mark.dind_modes("dind")
        def test_it(dind_client): raise SystemExit
        """
    )
    began = time.time()

    def run(looks: int, temp: str = str(project.temp)) -> str:
        output = project.run(
            *("--dind-mode=auto", f"--dind-image={NESTED_IMAGE}", "-rs"),
            f"--dind-host={engine.engine.url}",
            env={"TMPDIR": temp},
        )
        assert "the mode in force is sysbox" in output
        assert created(engine.engine.client, room, "probe", began) == looks
        return output

    def doctor(temp: str) -> None:
        verdicts = engine.doctor("--mode=sysbox", TMPDIR=temp)["modes"]
        assert [one["works"] for one in verdicts if one["mode"] == "sysbox"] == [True]

    assert "min ago" not in run(1)
    assert "a container proved that it works, 0 min ago" in run(1)
    # Its events, by which containers are counted, go too.
    engine.started.daemon.restart()
    assert "min ago" not in run(1)
    doctor(str(project.temp))
    shared = engine.started.shared_temp_dir()
    doctor(shared)
    looks = created(engine.engine.client, room, "probe", began)
    assert looks > 2
    assert "min ago" in run(looks, shared)
