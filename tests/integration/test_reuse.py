"""Daemons that outlive runs under a name."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import __main__ as command
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime import directories

from ..support import until
from .conftest import DeriveImage
from .projects import CUT_SHORT, Project
from .traces import Traces

# What these tests look at is a daemon of the run's own: its container, or what is in it alone.
# The name of a daemon that outlives runs is the same on the whole engine: one worker has them all.
pytestmark = [pytest.mark.requires_isolation, pytest.mark.xdist_group("reuse")]

_NOTE = """
    def test_it(dind_daemon, dind_client):
        assert dind_client.ping()
        with open("ids", "a") as file:
            print(dind_daemon.id, file=file)
"""
_REUSE = "--dind-reuse=storm-proof"
_SECONDS = re.compile(r"^dind: daemon 'main' ready in (\S+) s", re.MULTILINE)


@pytest.fixture
def project(project: Project, monkeypatch: pytest.MonkeyPatch, engine: Engine) -> Iterator[Project]:
    """A project with a test that notes its daemon; in the end what is reused is removed."""
    project.write(_NOTE)
    yield project
    base = project.temp / f"pytest-dind-{os.getuid()}"
    monkeypatch.setattr(directories, "base", lambda: base)
    assert command.main(["rm", "--all", f"--host={engine.url}"]) == 0


def _ids(project: Project) -> list[str]:
    """The daemons of the runs so far."""
    return (project.path / "ids").read_text().split()


# Two times are compared, of which other tests would slow down the one or the other.
@pytest.mark.alone
def test_same_daemon(project: Project, traces: Traces) -> None:
    """The next run has the same daemon in hand, much sooner; nobody's sweep takes it."""
    first = project.run(_REUSE)
    assert "dind: kept pytest-dind-reuse-storm-proof-" in first
    project.run()
    second = project.run(_REUSE, "-n2", "--dist=each")
    ids = _ids(project)

    assert ids[0] == ids[2] == ids[3] != ids[1]
    assert traces.containers() == [ids[0]]
    waited = [float(text) for text in _SECONDS.findall(first + second)]
    # 50 ms on a machine that has nothing else to do.
    assert max(waited[1:]) < 0.5 * waited[0]


def test_same_name_in_another_temp_dir(project: Project, traces: Traces) -> None:
    """Who has the same name and settings in another temp dir has a daemon of their own."""
    other = project.temp.with_name("u")
    other.mkdir()
    project.run(_REUSE)
    project.run(_REUSE, env={"TMPDIR": str(other)})
    project.run(_REUSE)
    ids = _ids(project)

    assert ids[0] == ids[2] != ids[1]
    assert set(traces.containers()) == {ids[0], ids[1]}
    subprocess.run(
        [sys.executable, "-m", "pytest_dind", "rm", "--all"],
        env={**os.environ, "TMPDIR": str(other)},
        check=True,
    )


def test_changed_settings(project: Project, traces: Traces) -> None:
    """Other settings mean another daemon; what changed is said, and the old one goes."""
    project.run(_REUSE)
    output = project.run(_REUSE, "--dind-arg=--label=mine=1")
    ids = _ids(project)

    assert ids[0] != ids[1]
    assert "dind: reuse: settings changed (arg: [] -> ['--label=mine=1']); the daemon " in output
    assert traces.containers() == [ids[1]]


def test_mode_that_auto_stands_for(project: Project, traces: Traces) -> None:
    """What `auto` has started is taken up by who names the mode, and the other way round."""
    output = project.run(_REUSE, "--dind-mode=auto")
    mode = re.search(r"^dind: auto: (\w+), because", output, re.MULTILINE)
    assert mode is not None
    project.run(_REUSE, f"--dind-mode={mode[1]}")
    project.run(_REUSE, "--dind-mode=auto")
    (id_,) = set(_ids(project))

    assert traces.containers() == [id_]


def test_name_that_another_begins_with(project: Project, traces: Traces) -> None:
    """A daemon of another name stays, also where its name begins with this one's."""
    project.run(f"{_REUSE}-2")
    project.run(_REUSE)

    assert set(traces.containers()) == set(_ids(project))


def test_changed_image(
    project: Project, traces: Traces, engine: Engine, derive: DeriveImage
) -> None:
    """The same settings with another image under the same name mean another daemon, too."""
    name, tag = "pytest-dind/derived", uuid4().hex[:8]
    option = f"--dind-image={name}:{tag}"
    engine.client.images.get(DAEMON_IMAGE).tag(name, tag)
    try:
        project.run(_REUSE, option)
        engine.client.images.get(derive("true", "LABEL of=a-test")).tag(name, tag)
        output = project.run(_REUSE, option)
    finally:
        engine.client.images.remove(f"{name}:{tag}")
    ids = _ids(project)

    assert ids[0] != ids[1]
    assert "dind: reuse: settings changed (its image is another one now); the daemon " in output
    assert traces.containers() == [ids[1]]


def test_changed_while_in_use(project: Project, traces: Traces) -> None:
    """A daemon with other settings that another run uses stays until that is over."""
    project.write(_NOTE + "        import signal; open('waits', 'w').close(); signal.pause()\n")
    process = project.start(_REUSE)
    project.reached("waits", process)
    project.write(_NOTE)
    output = project.run(_REUSE, "--dind-arg=--label=mine=1")

    assert "stays while another run uses it" in output
    assert set(traces.containers()) == set(_ids(project))
    assert len(_ids(project)) == 2
    process.kill()
    process.wait()


# Paused containers are frozen control groups.
@pytest.mark.cgroups
@pytest.mark.parametrize("harm", ["kill", "pause"])
def test_dead_or_unhealthy(project: Project, traces: Traces, engine: Engine, harm: str) -> None:
    """A daemon that is gone, or does not answer, is replaced by a new one."""
    project.run(_REUSE)
    getattr(engine.client.api, harm)(_ids(project)[0])
    output = project.run(_REUSE)
    ids = _ids(project)

    assert re.search(r"dind: reuse: reuse-\S+ can't be used: main is gone or unhealthy", output)
    assert ids[0] != ids[1]
    assert traces.containers() == [ids[1]]


@pytest.mark.parametrize("content", ["{", '{"version": 0}', ""])
def test_state_that_cannot_be_read(project: Project, traces: Traces, content: str) -> None:
    """A daemon whose state is corrupt, or another version's, is replaced by a new one."""
    project.run(_REUSE)
    (state,) = project.temp.rglob("state.json")
    state.write_text(content)
    project.run(_REUSE)
    ids = _ids(project)

    assert ids[0] != ids[1]
    assert traces.containers() == [ids[1]]


def test_three_runs_at_once(project: Project, traces: Traces) -> None:
    """Runs that begin at once share one daemon; the end of one does not take it from the rest."""
    project.write(
        _NOTE
        + """
        import os, time
        with open("ids") as file:
            mine = file.read().split().index(dind_daemon.id)
        open(f"here-{os.getpid()}", "w").close()
        deadline = time.monotonic() + 30
        while len([name for name in os.listdir() if name.startswith("here-")]) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert dind_client.ping()
        """
    )
    runs = [project.start(_REUSE) for _ in range(3)]
    outputs = [run.communicate(timeout=60)[0] for run in runs]

    assert [run.returncode for run in runs] == [0, 0, 0], "\n".join(outputs)
    assert len(_ids(project)) == 3
    assert len(set(_ids(project))) == 1
    assert traces.containers() == _ids(project)[:1]


def test_killed_during_the_first_start(
    project: Project, traces: Traces, engine: Engine, slow_image: str
) -> None:
    """A run that is killed while it makes the daemon leaves none of it."""
    process = project.start(_REUSE, f"--dind-image={slow_image}")
    until(traces.containers, 20, "there is a container")
    process.kill()
    process.wait()
    traces.assert_nothing_left(seconds=4)


def test_killed_later(project: Project, traces: Traces) -> None:
    """A run that is killed while it uses the daemon leaves it to the next."""
    project.run(_REUSE)
    project.write(_NOTE + "        import os; os.kill(os.getpid(), 9)\n")
    project.run(_REUSE, code=-9)
    project.write(_NOTE)
    project.run(_REUSE)

    assert len(set(_ids(project))) == 1
    assert len(traces.containers()) == 1


def test_images_come_back(project: Project) -> None:
    """Images to load that a run deleted in the daemon are there for the next run."""
    project.write(
        _NOTE
        + f"""
        dind_client.images.get("{NESTED_IMAGE}")
        dind_client.images.remove("{NESTED_IMAGE}")
        """
    )
    for _ in range(2):
        project.run(_REUSE, f"--dind-load={NESTED_IMAGE}")

    assert len(set(_ids(project))) == 1


def test_removed_by_command(project: Project, traces: Traces) -> None:
    """The line that the run prints removes the daemon; the next run starts another."""
    output = project.run(_REUSE)
    line = re.search(r"^  python -m (pytest_dind rm \S+)$", output, re.MULTILINE)
    assert line is not None
    subprocess.run(
        [sys.executable, "-m", *line[1].split()],
        env={**os.environ, "TMPDIR": str(project.temp)},
        check=True,
    )
    traces.assert_nothing_left(seconds=1)

    project.run(_REUSE)
    assert len(set(_ids(project))) == 2


def test_interrupted_test_that_is_cleaned_up_after(project: Project) -> None:
    """What it made in the daemon goes with a Ctrl-C too: the next run has the same daemon."""
    project.write(
        """
        import os, signal

        def test_it(dind_clean, dind_client):
            assert dind_client.volumes.list() == []
            dind_client.volumes.create("mine")
            if not os.path.exists("in-a-test"):
                open("in-a-test", "w").close()
                signal.pause()
        """
    )
    process = project.start(*CUT_SHORT, _REUSE)
    project.reached("in-a-test", process)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "Traceback" not in output
    assert "1 passed" in project.run(_REUSE)
