"""Runs beside one another on one engine: each for itself."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pytest_dind.engine.engine import Engine

from .projects import Project, Run
from .traces import Traces

# What these tests look at is a daemon of the run's own: its container, or what is in it alone.
pytestmark = pytest.mark.requires_isolation

_NOTE = """
    import os, signal

    def test_it(dind_daemon, dind_client, worker_id):
        assert dind_client.networks.create("mine")
        assert len(dind_client.networks.list(names=["mine"])) == 1
        with open("ids", "a") as file:
            print(os.environ["RUN"], dind_daemon.id, file=file)
        if os.environ.get("DIES"):
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
"""


def _ids(project: Project) -> dict[str, set[str]]:
    """The daemons of each run."""
    found: dict[str, set[str]] = {}
    for line in (project.path / "ids").read_text().splitlines():
        run, daemon = line.split()
        found.setdefault(run, set()).add(daemon)
    return found


def test_four_runs_with_two_workers_each(project: Project, traces: Traces) -> None:
    """Each of four runs has a daemon of its own; one that is killed takes nothing from others."""
    project.write(_NOTE)
    runs = [
        project.start("-n2", env={"RUN": str(number), "DIES": "yes" if number == 0 else ""})
        for number in range(4)
    ]
    outputs = [run.communicate(timeout=60)[0] for run in runs]
    ids = _ids(project)

    assert [run.returncode for run in runs] == [-signal.SIGKILL, 0, 0, 0], "\n".join(outputs)
    assert sorted(map(len, ids.values())) == [1, 1, 1, 1]
    assert len(set().union(*ids.values())) == 4
    traces.assert_nothing_left()


def _waits(project: Project, name: str, before: list[str]) -> Run:
    """A run that has come to a test, which goes on until there is a file `go`."""
    project.write(
        f"""
        import pathlib, time

        def test_it(dind_client):
            pathlib.Path("{name}").touch()
            deadline = time.monotonic() + 50
            while not pathlib.Path("go").exists():
                assert time.monotonic() < deadline
                assert dind_client.ping()
                time.sleep(0.05)
        """,
        f"test_{name}.py",
    )
    process = project.start(f"test_{name}.py", before=before)
    project.reached(name, process)
    return process


def test_runs_of_two_users(project: Project, traces: Traces, engine: Engine) -> None:
    """Two users' runs in one temp dir neither see nor touch each other, dead or alive."""
    group = Path(engine.url.removeprefix("unix://")).stat().st_gid
    other = project.as_user(group)
    # For both users, as /tmp is.
    for path in (project.temp, project.path):
        path.chmod(0o777)
    first = _waits(project, "first", other)
    second = _waits(project, "second", [])
    project.write("def test_it(dind_client): pass", "test_third.py")
    project.run("test_third.py", before=other)
    project.run("test_third.py")
    assert len(traces.containers()) == 2

    # What one left is for its own user's next run, not for the other's.
    os.killpg(second.pid, signal.SIGKILL)
    second.wait()
    project.run("test_third.py", before=other)
    (project.path / "go").touch()
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 0, output
    traces.assert_nothing_left()
