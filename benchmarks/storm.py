"""`python -m benchmarks.storm`: test runs killed at random moments, and what is left of them."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError

from pytest_dind.lifetime import labels, layout

DAEMON_IMAGE = "pytest-dind/daemon:test"
NESTED_IMAGE = "pytest-dind/nested:test"
NODE_IMAGE = "pytest-dind/kubernetes:test"

LIMIT_SECONDS = 5.0
"""What a killed run left must be gone by then, counted from the end of its last process."""

_PHASES = ("start", "tests", "teardown")
# What the engine was still making when a run was killed shows up a little later.
_SETTLED_SECONDS = 0.5
_SESSION_SECONDS = 120
# execnet gives a worker 15 s to end when its controller is gone.
_ORPHANS_SECONDS = 30
# Each look at what is left takes the engine and /proc some milliseconds, of the processor that the
# run under the storm has, too.
_POLL_SECONDS = 0.02

# The suite leaves a file where it gets to: in a test for the first time, and after the last one.
_CONFTEST = """
import os, pathlib

MARKS = pathlib.Path(os.environ["STORM_MARKS"])

def pytest_runtest_call(item):
    MARKS.joinpath("tests").touch()

def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        MARKS.joinpath("teardown").touch()
"""
_DAEMON = """
import pytest

@pytest.mark.parametrize("number", range(6))
def test_nested(dind_client, dind_daemon, number):
    if number % 3 == 0:
        dind_client.containers.run("IMAGE", ["sleep", "3600"], detach=True)
    dind_client.networks.create(f"net{number}")
    print("daemon", dind_daemon.id)
""".replace("IMAGE", NESTED_IMAGE)
_FRESH = """
import pytest

@pytest.mark.parametrize("number", range(4))
def test_fresh(dind_fresh, number):
    dind_fresh.exec(["docker", "run", "--detach", "IMAGE", "sleep", "3600"])
    print("daemon", dind_fresh.id)
""".replace("IMAGE", NESTED_IMAGE)
_SWARM = """
def test_swarm(dind_swarm):
    service = dind_swarm.client.services.create("IMAGE", ["sleep", "3600"])
    dind_swarm.wait_for(service)

def test_loss(dind_swarm):
    dind_swarm.kill(dind_swarm.nodes[-1])
    dind_swarm.join()
""".replace("IMAGE", NESTED_IMAGE)
_KUBERNETES = """
def test_kubernetes(dind_kubernetes, dind_namespace):
    dind_namespace.exec(["kubectl", "create", "deployment", "web", "--image=none:1"])

def test_loss_of_node(dind_kubernetes):
    dind_kubernetes.kill(dind_kubernetes.nodes[-1])
    dind_kubernetes.add_node()
"""
_SNAPSHOT = """
import pytest

@pytest.fixture(scope="session")
def stack(dind_factory):
    def prepare(daemon):
        daemon.exec(["docker", "volume", "create", "data"])
        daemon.exec(["docker", "run", "--detach", "--volume=data:/data", "IMAGE", "sleep", "3600"])
    dind_factory.snapshot("stack", prepare)

@pytest.mark.usefixtures("stack")
@pytest.mark.dind_snapshot("stack", start=True)
@pytest.mark.parametrize("number", range(3))
def test_copy(dind_fresh, number):
    print("daemon", dind_fresh.id)
""".replace("IMAGE", NESTED_IMAGE)


@dataclass(frozen=True)
class Variant:
    """A suite that is killed, and how it is run.

    Attributes:
        name: What it is called.
        suite: Its tests.
        options: Its own options.
    """

    name: str
    suite: str
    options: tuple[str, ...] = ()


DAEMONS = (
    Variant("plain", _DAEMON),
    Variant("workers", _DAEMON, ("-n4",)),
    Variant("store", _DAEMON, ("--dind-cache=refresh",)),
    Variant("spares", _FRESH, ("--dind-spares=2",)),
)
SNAPSHOTS = Variant("snapshots", _SNAPSHOT)
SWARM = Variant("swarm", _SWARM)
# Each of the two workers has one of the two.
CLUSTERS = Variant(
    "clusters", _SWARM + _KUBERNETES, ("-n2", f"--dind-kubernetes-image={NODE_IMAGE}")
)
VARIANTS = (*DAEMONS, SNAPSHOTS, SWARM, CLUSTERS)


class Place:
    """A temp dir of its own for test runs, so that what they leave is told from all else."""

    def __init__(self, path: Path, engine: docker.DockerClient) -> None:
        self.path = path.resolve()
        self.base = self.path / f"pytest-dind-{os.getuid()}"
        self._engine = engine

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a run in this place."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        return inherited | {"TMPDIR": str(self.path)}

    def left(self) -> list[str]:
        """All that runs in this place have made and that is still there."""
        return [
            *(f"container {item['Id'][:12]} ({item['State']})" for item in self.containers()),
            *(f"volume {item['Name'][:12]}" for item in self._volumes()),
            *(f"network {item['Id'][:12]}" for item in self._networks()),
            *(f"process {pid} ({name})" for pid, name in self._processes()),
            *(f"directory {path.name}" for path in self.directories()),
        ]

    def containers(self) -> list[Mapping[str, Any]]:
        """The containers of this place, as the engine lists them."""
        every = self._engine.api.containers(all=True, filters={"label": labels.HOME})
        return [item for item in every if self._is_ours(item)]

    def directories(self) -> list[Path]:
        """The runs' directories, and what else is there; lock files and what was proved stay."""
        try:
            every = sorted(self.base.iterdir())
            return [path for path in every if path.suffix != ".lock" and path.name != layout.PROVED]
        except FileNotFoundError:
            return []

    def remove(self) -> None:
        """Remove what is left, by force."""
        for item in self.containers():
            with contextlib.suppress(APIError):
                self._engine.api.remove_container(item["Id"], force=True, v=True)
        for volume in self._volumes():
            with contextlib.suppress(APIError):
                self._engine.api.remove_volume(volume["Name"])
        for path in self.directories():
            shutil.rmtree(path, ignore_errors=True)

    def _volumes(self) -> list[Mapping[str, Any]]:
        every = self._engine.api.volumes(filters={"label": labels.HOME})["Volumes"] or []
        return [item for item in every if self._is_ours(item)]

    def _networks(self) -> list[Mapping[str, Any]]:
        every = self._engine.api.networks(filters={"label": labels.HOME})
        return [item for item in every if self._is_ours(item)]

    def _is_ours(self, item: Mapping[str, Any]) -> bool:
        return str((item["Labels"] or {}).get(labels.HOME, "")).startswith(f"{self.base}/")

    def _processes(self) -> Iterator[tuple[int, str]]:
        """Processes that name this place, as a reaper does, or have it mounted (a container's)."""
        mark = os.fsencode(self.base)
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if any(mark in (path / name).read_bytes() for name in ("cmdline", "mountinfo")):
                    yield int(path.name), (path / "comm").read_text().strip()


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """A new place; at the end nothing of it is there."""
    engine = docker.from_env()
    # Short, since a unix socket's path is.
    path = Path(tempfile.mkdtemp(prefix="storm", dir="/tmp"))
    made = Place(path, engine)
    try:
        yield made
    finally:
        made.remove()
        shutil.rmtree(path, ignore_errors=True)
        engine.close()


class Session:
    """One test run of the storm's suite, in a process group of its own."""

    def __init__(self, place: Place, variant: Variant) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="suite", dir=place.path))
        (self._directory / "pytest.ini").write_text("[pytest]\n")
        (self._directory / "conftest.py").write_text(_CONFTEST)
        (self._directory / "test_storm.py").write_text(variant.suite)
        command = [sys.executable, "-m", "pytest", "-q", "-rP"]
        # Hypothesis takes longer to load than pytest and the plugin together.
        command += ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
        own = [f"--dind-image={DAEMON_IMAGE}", f"--dind-load={NESTED_IMAGE}"]
        self.began = time.monotonic()
        with (self._directory / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [*command, *own, *variant.options],
                cwd=self._directory,
                env=place.environment | {"STORM_MARKS": str(self._directory)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """All that the run has printed."""
        return (self._directory / "output").read_text(errors="replace")

    def reaches(self, phase: str) -> bool:
        """Wait until the run is in this phase; False when it has ended first."""
        mark = self._directory / phase
        poll_until(lambda: mark.exists() or self.ended(), _SESSION_SECONDS)
        return mark.exists()

    def ended(self) -> bool:
        """Whether the run's main process has ended."""
        return self._process.poll() is not None

    def wait(self) -> int:
        """Wait for the end of the main process, and give its exit code."""
        return self._process.wait(_SESSION_SECONDS)

    def kill(self, *, group: bool) -> None:
        """SIGKILL for the whole group, or for the main process alone; all are gone then."""
        if group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            # Workers notice that their controller is gone, and end by themselves.
            self._process.kill()
        self._process.wait()
        if not poll_until(self._group_is_gone, _ORPHANS_SECONDS):
            os.killpg(self._process.pid, signal.SIGKILL)
            raise AssertionError("xdist's workers outlive their controller")

    def forget(self) -> None:
        """Remove the run's suite and output."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _group_is_gone(self) -> bool:
        # Not by a signal to the group: it also reaches the dead that init has not waited for yet.
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # proc(5): after the command's name come state, parent and process group.
                state, _, group = path.read_text().rpartition(")")[2].split()[:3]
                if int(group) == self._process.pid and state not in "ZX":
                    return False
        return True


def poll_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll a condition; False when it did not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


@dataclass(frozen=True)
class Kill:
    """When and how a run is killed; all of it comes from the seed.

    Attributes:
        variant: What is killed.
        phase: In which phase of the run.
        share: How far into that phase, from 0 to 1.
        group: Whether the whole process group is killed, or the main process alone.
    """

    variant: Variant
    phase: str
    share: float
    group: bool

    def __str__(self) -> str:
        whom = "group" if self.group else "main process"
        return f"{self.variant.name}, {self.phase} {self.share:.3f}, {whom}"


def kills(seed: int, variants: Sequence[Variant] = VARIANTS) -> Iterator[Kill]:
    """The endless sequence of kills of these variants that a seed stands for."""
    chance = random.Random(seed)
    while True:
        # Half of all in the start: that is where most is under way.
        yield Kill(
            variant=chance.choice(variants),
            phase=chance.choices(_PHASES, (2, 1, 1))[0],
            share=chance.random(),
            group=chance.random() < 0.75,
        )


@dataclass
class Report:
    """What a storm has found.

    Attributes:
        seed: What replays it.
        kills: Runs that were killed.
        slowest: Seconds from the end of a run's last process until nothing was left of it.
        leftovers: What was still there after the limit, each with its kill.
        failures: Outputs of runs that ended before their kill, and not well.
    """

    seed: int
    kills: int = 0
    slowest: float = 0.0
    leftovers: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"storm: {self.kills} kills, {len(self.leftovers)} leftovers, "
            f"slowest clean-up {self.slowest:.2f} s, seed {self.seed}; "
            f"{len(self.failures)} runs failed that were not killed"
        )


def storm(
    place: Place,
    *,
    count: int,
    seed: int,
    say: Callable[[str], None],
    variants: Sequence[Variant] = VARIANTS,
    limit: float = LIMIT_SECONDS,
) -> Report:
    """Kill that many runs; a run that ended before its kill does not count.

    Args:
        place: Where they run.
        count: How many.
        seed: What replays the storm.
        say: Is called with a line for each kill.
        variants: The suites that are killed.
        limit: Seconds after which nothing may be left.
    """
    lengths = {variant.name: _lengths(place, variant) for variant in variants}
    report = Report(seed)
    for kill in kills(seed, variants):
        if report.kills == count:
            break
        session = Session(place, kill.variant)
        reached = kill.phase == "start" or session.reaches(kill.phase)
        # Not to wait for anything: this is the random moment.
        time.sleep(kill.share * lengths[kill.variant.name][kill.phase])
        in_time = reached and not session.ended()
        if not in_time and session.wait():
            report.failures.append(session.output)
        session.kill(group=kill.group)
        killed = time.monotonic()
        if in_time:
            report.kills += 1
            is_clean, took = _cleaned(place, killed, limit)
            report.slowest = max(report.slowest, took)
            line = f"{report.kills}: {kill}: {took:.2f} s"
            if not is_clean:
                left = place.left()
                report.leftovers.append(f"{line}: {', '.join(left)}")
                place.remove()
            say(report.leftovers[-1] if not is_clean else line)
        session.forget()
    return report


def storms(
    suites: int,
    *,
    count: int,
    seed: int,
    say: Callable[[str], None],
    variants: Sequence[Variant] = VARIANTS,
) -> Report:
    """Have several storms at once, each in a place of its own, that make so many kills together.

    What ends a killed run shares the processors with the starts of the others: it has as many times
    longer as there are suites.
    """
    limit = LIMIT_SECONDS * suites
    shares = [count // suites + (number < count % suites) for number in range(suites)]

    def one(number: int) -> Report:
        with place() as made:
            tell = say if suites == 1 else lambda line: say(f"suite {number + 1}, {line}")
            return storm(
                made,
                count=shares[number],
                seed=seed + number,
                say=tell,
                variants=variants,
                limit=limit,
            )

    whole = Report(seed)
    with ThreadPoolExecutor(suites) as pool:
        for report in pool.map(one, range(suites)):
            whole.kills += report.kills
            whole.slowest = max(whole.slowest, report.slowest)
            whole.leftovers += report.leftovers
            whole.failures += report.failures
    return whole


def _cleaned(place: Place, killed: float, limit: float) -> tuple[bool, float]:
    """Wait until nothing is left, and stays so; whether that came true, and after how long."""
    clean_since = None
    while True:
        now = time.monotonic()
        if place.left():
            clean_since = None
            if now - killed > limit:
                return False, now - killed
        else:
            clean_since = clean_since or now
            if now - clean_since >= _SETTLED_SECONDS:
                return True, clean_since - killed
        time.sleep(_POLL_SECONDS)


def _lengths(place: Place, variant: Variant) -> dict[str, float]:
    """How long each phase of an undisturbed run takes."""
    session = Session(place, variant)
    ends = [session.began]
    for phase in _PHASES[1:]:
        session.reaches(phase)
        ends.append(time.monotonic())
    code = session.wait()
    ends.append(time.monotonic())
    if code:
        raise AssertionError(f"The undisturbed run failed:\n{session.output}")
    session.forget()
    return {phase: ends[i + 1] - ends[i] for i, phase in enumerate(_PHASES)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a storm; the exit code is 1 when anything was left, or failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, metavar="N", help="default: 300")
    parser.add_argument("--seed", type=int, help="replays the storm that printed it")
    names = [variant.name for variant in VARIANTS]
    usual = [name for name in names if name != CLUSTERS.name]
    parser.add_argument(
        "--variant",
        action="append",
        choices=names,
        help=f"a suite that is killed, repeatable (default: {', '.join(usual)})",
    )
    parser.add_argument(
        "--suites", type=int, default=1, metavar="N", help="how many run at once (default: 1)"
    )
    options = parser.parse_args(arguments)
    chosen = [one for one in VARIANTS if one.name in (options.variant or usual)]
    seed = random.randrange(2**32) if options.seed is None else options.seed
    say = partial(print, flush=True)
    say(f"storm: seed {seed}")
    report = storms(options.suites, count=options.kills, seed=seed, say=say, variants=chosen)
    print(*report.failures, report, sep="\n")
    return 1 if report.leftovers or report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
