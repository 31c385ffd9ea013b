"""Daemons that stay after the run, because they were asked to."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys

import docker
import pytest

from .projects import Project
from .traces import Traces

_FAILS = "def test_it(dind_client): dind_client.networks.create('of-keep'); assert 0"
_PASSES = "def test_it(dind_client): dind_client.networks.create('of-keep')"
_LINES = re.compile(
    r"^dind: kept (?P<name>\S+); to use it, and to remove it:\n"
    r"  (?P<export>export DOCKER_HOST=\S+)\n"
    r"  python -m (?P<remove>pytest_dind rm \S+)$",
    re.MULTILINE,
)


def _command(project: Project, *arguments: str) -> str:
    """What `python -m` prints, in the temp dir of the project."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**os.environ, "TMPDIR": str(project.temp)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def _kept(project: Project) -> set[str]:
    """The daemons that are kept, of those of the project's runs."""
    listed = json.loads(_command(project, "pytest_dind", "ps", "--json"))
    return {
        item["name"] for item in listed if item["use"] == "kept" and item["name"] in _names(project)
    }


def _names(project: Project) -> set[str]:
    """The names of all daemons of the project's runs, by their directories."""
    homes = project.temp.glob("pytest-dind-*/*/*/")
    return {f"pytest-dind-{home.parent.name}-{home.name}" for home in homes}


@pytest.mark.parametrize(
    ("keep", "source", "options", "code"),
    [
        ("on-failure", _FAILS, [], 1),
        ("on-failure", _FAILS, ["-n2"], 1),
        ("always", _PASSES, [], 0),
    ],
)
def test_kept(
    project: Project, traces: Traces, keep: str, source: str, options: list[str], code: int
) -> None:
    """A kept daemon has what the test left in it; the lines printed lead to it and remove it."""
    project.write(source)
    output = project.run(f"--dind-keep={keep}", *options, code=code)
    lines = _LINES.search(output)
    assert lines is not None, output
    assert len(_LINES.findall(output)) == 1

    script = f"{lines['export']}; exec docker network ls --format '{{{{.Name}}}}'"
    names = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert "of-keep" in names.stdout.split()
    client = docker.DockerClient(base_url=lines["export"].partition("=")[2])
    assert client.networks.list(names=["of-keep"])
    client.close()

    assert _kept(project) == {lines["name"]}
    # Neither another run's sweep nor one that is asked for takes it.
    project.write("def test_it(dind_daemon): pass")
    project.run()
    _command(project, "pytest_dind", "rm", "--stale")
    assert _kept(project) == {lines["name"]}

    assert _command(project, *shlex.split(lines["remove"])).split() == [lines["name"]]
    traces.assert_nothing_left(seconds=1)


@pytest.mark.parametrize(("keep", "source"), [("on-failure", _PASSES), ("never", _FAILS)])
def test_not_kept(project: Project, traces: Traces, keep: str, source: str) -> None:
    """No failure, no daemon; and none without being asked."""
    project.write(source)
    output = project.run(f"--dind-keep={keep}", code=int(source == _FAILS))

    assert "dind: kept" not in output
    traces.assert_nothing_left(seconds=1)


def test_kept_when_the_end_fails(project: Project) -> None:
    """A fixture that fails as an interrupted run ends does not cost the daemon that is to stay."""
    project.write(
        """
        import pytest

        @pytest.fixture(scope="session")
        def broken(dind_client):
            yield
            raise RuntimeError("broken")

        def test_it(broken):
            raise KeyboardInterrupt
        """
    )
    assert "broken" in project.run("--dind-keep=always", code=1)
    (name,) = _kept(project)
    _command(project, "pytest_dind", "rm", name)


@pytest.mark.requires_isolation
def test_kept_by_each_worker(project: Project, traces: Traces) -> None:
    """With scope worker each worker keeps its own, told of by name; `rm --all` takes them all."""
    project.write(_PASSES)
    output = project.run("-v", "-n2", "--dist=each", "--dind-scope=worker", "--dind-keep=always")
    names = {found["name"] for found in _LINES.finditer(output)}
    assert len(names) == 2
    assert _kept(project) == names

    assert set(_command(project, "pytest_dind", "rm", "--all").split()) >= names
    traces.assert_nothing_left(seconds=1)


def test_killed_run_keeps_nothing(project: Project, traces: Traces) -> None:
    """A run that is killed has no end at which to keep its daemon."""
    project.write("import os\ndef test_it(dind_daemon): os.kill(os.getpid(), 9)")
    project.run("--dind-keep=always", code=-signal.SIGKILL)
    traces.assert_nothing_left(seconds=3)
