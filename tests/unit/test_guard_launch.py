"""Guards as processes: started, started anew, and ended by the pid that they wrote down."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_dind.guard import launch
from pytest_dind.guard.config import GuardConfig
from pytest_dind.lifetime import labels
from pytest_dind.lifetime.layout import GUARD, LEASE
from pytest_dind.lifetime.lease import Lease

from ..support import Answer, FakeEngine, until

_SECONDS = 20
_linux = pytest.mark.skipif(
    not labels.process(), reason="without /proc no process can be told from a later one"
)


@pytest.fixture
def home(short_path: Path) -> Iterator[Path]:
    """A home with a user, beside an engine that tells its version."""
    found = short_path / "runs" / "run" / "main"
    found.mkdir(parents=True)
    lease = Lease(found / LEASE)
    with FakeEngine(short_path / "engine", {"GET /version": Answer(body={"ApiVersion": "1.41"})}):
        yield found
        launch.end(found)
    lease.release()


def _start(home: Path) -> None:
    config = GuardConfig(
        home=str(home),
        socket=str(home / "docker.sock"),
        lease=str(home / LEASE),
        kept=str(home / "kept"),
        engine=str(home.parents[2] / "engine"),
        labels=labels.make("run", mode="socket", keep="never", home=home),
        guard="own",
        allow=(),
        roots=(),
    )
    assert launch.start(config, _SECONDS), (home / "log").read_text()


@pytest.mark.parametrize("earlier", ["", "1" * 200, "4194303", "a b 1 1 1"])
def test_pid_of_a_guard_that_is_started_anew(home: Path, earlier: str) -> None:
    """It is the new guard's own, whatever an earlier one has left, and so is the end signal."""
    (home / GUARD).write_text(earlier)
    _start(home)
    written = (home / GUARD).read_text()

    assert launch.pid(written) is not None
    began = time.monotonic()
    launch.end(home)
    assert not launch.is_alive(home)
    assert time.monotonic() - began < _SECONDS
    until(lambda: launch.pid(written) is None, _SECONDS, "the process is gone")


def _earlier(process: int) -> str:
    """The description of a process that had the pid of another one before it."""
    machine, _, started = labels.process().split(" ")
    return f"{machine} {process} {int(started) - 1}"


def _elsewhere(process: int) -> str:
    """The description of a process with the pid of another one, in another pid namespace."""
    machine, _, started = labels.process().split(" ")
    return f"{machine}9 {process} {started}"


def test_look_at_the_same_time(short_path: Path) -> None:
    """Processes that look for a guard at the same time do not take each other for it."""
    (short_path / GUARD).touch()
    with (short_path / GUARD).open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not launch.is_alive(short_path)
        fcntl.flock(looking, fcntl.LOCK_EX)
        assert launch.is_alive(short_path)


def test_look_while_a_guard_starts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard starts although a process looks for one just then; beside a guard none starts."""
    (home / GUARD).touch()
    with (home / GUARD).open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        sleep = time.sleep

        def wait(seconds: float) -> None:
            fcntl.flock(looking, fcntl.LOCK_UN)
            sleep(seconds)

        monkeypatch.setattr(time, "sleep", wait)
        _start(home)
    assert launch.is_alive(home)
    with pytest.raises(BlockingIOError):
        _start(home)


@_linux
@pytest.mark.parametrize("describe", [str, _earlier, _elsewhere])
def test_process_that_is_no_guard(short_path: Path, describe: Callable[[int], str]) -> None:
    """A process that has the pid of a guard that is gone gets no signal, and is not waited for."""
    bystander = subprocess.Popen(["sleep", "1000"])
    with (short_path / GUARD).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(describe(bystander.pid))
        lock.flush()
        began = time.monotonic()
        launch.end(short_path)
        spent = time.monotonic() - began
    bystander.kill()

    assert bystander.wait() == -signal.SIGKILL
    assert spent < _SECONDS
