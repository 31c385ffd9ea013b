"""How runs end, by their own will or not: nothing is left of them."""

from __future__ import annotations

import os
import re
import signal
import time
from uuid import uuid4

import pytest

from conftest import NESTED_IMAGE
from pytest_dind.engine.engine import Engine

from ..support import until
from .conftest import StartDaemon
from .hung import hung_engine
from .projects import CUT_SHORT, Project, Run
from .traces import FOREIGN, Traces

# The kernel ends a container by its control groups, and does not where those are frozen.
pytestmark = pytest.mark.cgroups

_IN_A_TEST = """
    import signal

    def test_it(dind_daemon, dind_client):
        dind_client.networks.create("of-ends")
        open("in-a-test", "w").close()
        signal.pause()
"""


def _interrupt(process: Run) -> str:
    """What Ctrl-C does in a terminal: SIGINT for all processes of the run; gives the output."""
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    return output


def _has_container(traces: Traces, process: Run) -> bool:
    if process.poll() is not None:
        raise AssertionError(process.communicate()[0])
    return bool(traces.containers())


@pytest.mark.engines
@pytest.mark.requires_isolation
def test_killed_in_a_test(project: Project, traces: Traces) -> None:
    """A run that is killed while a test has a daemon leaves nothing, and soon."""
    project.write(_IN_A_TEST)
    process = project.start()
    project.reached("in-a-test", process)
    assert traces.containers()
    process.kill()
    process.wait()
    traces.assert_nothing_left(seconds=3)


@pytest.mark.engines
@pytest.mark.requires_isolation
def test_container_that_somebody_removed(
    start: StartDaemon, engine: Engine, traces: Traces
) -> None:
    """The end of a daemon without a container takes its own volume along, and no other."""
    other = engine.client.volumes.create(f"{FOREIGN}{uuid4().hex[:8]}")
    try:
        started = start()
        engine.client.api.remove_container(started.home.label, force=True, v=True)
        started.backend.stop(started.home)
        assert other in engine.client.volumes.list()
    finally:
        other.remove()
    traces.assert_nothing_left()


@pytest.mark.requires_isolation
def test_killed_during_the_start(project: Project, traces: Traces, slow_image: str) -> None:
    """A run that is killed while its daemon starts leaves nothing, and soon."""
    project.write(_IN_A_TEST)
    process = project.start(f"--dind-image={slow_image}")
    until(lambda: _has_container(traces, process), 20, "there is a container")
    process.kill()
    process.wait()
    traces.assert_nothing_left(seconds=3)


@pytest.mark.requires_isolation
def test_interrupted_in_a_test(project: Project, traces: Traces) -> None:
    """Ctrl-C in a test leaves nothing when the run has ended."""
    project.write(_IN_A_TEST)
    process = project.start(*CUT_SHORT)
    project.reached("in-a-test", process)
    assert traces.containers()
    _interrupt(process)
    traces.assert_nothing_left(seconds=1)


@pytest.mark.requires_isolation
def test_interrupted_during_the_start(project: Project, traces: Traces, slow_image: str) -> None:
    """Ctrl-C while the daemon starts leaves nothing when the run has ended."""
    project.write(_IN_A_TEST)
    process = project.start(*CUT_SHORT, f"--dind-image={slow_image}")
    until(lambda: _has_container(traces, process), 20, "there is a container")
    _interrupt(process)
    traces.assert_nothing_left(seconds=1)


def test_interrupted_before_there_is_a_container(project: Project, traces: Traces) -> None:
    """Ctrl-C at the very beginning of a start leaves nothing, whatever was on its way."""
    project.write(_IN_A_TEST)
    process = project.start(*CUT_SHORT)
    until(
        lambda: (
            [path for path in project.temp.glob("pytest-dind-*/*") if path.is_dir()]
            or process.poll() is not None
        ),
        20,
        "the run has begun",
    )
    _interrupt(process)
    traces.assert_nothing_left(seconds=3)


def test_interrupted_twice(project: Project, traces: Traces) -> None:
    """An impatient second Ctrl-C may cut the clean-up short; what is left then goes by itself."""
    project.write(_IN_A_TEST)
    process = project.start()
    project.reached("in-a-test", process)
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=20)
    traces.assert_nothing_left(seconds=3)


def test_terminated(project: Project, traces: Traces) -> None:
    """SIGTERM, which pytest does not catch, leaves nothing either."""
    project.write(_IN_A_TEST)
    process = project.start()
    project.reached("in-a-test", process)
    process.terminate()
    process.wait()
    traces.assert_nothing_left(seconds=3)


def test_failing_tests(project: Project, traces: Traces) -> None:
    """A run with a failing test, and one with an error in a fixture, leave nothing."""
    project.write(
        f"""
        import pytest

        @pytest.fixture
        def broken(dind_client):
            raise RuntimeError("broken")

        def test_failing(dind_client):
            dind_client.containers.run("{NESTED_IMAGE}", "sleep 60", detach=True)
            raise AssertionError("as it should")

        def test_error(broken): ...
        """
    )
    output = project.run(f"--dind-load={NESTED_IMAGE}", code=1)

    assert "1 failed, 1 error" in output
    traces.assert_nothing_left(seconds=1)


def test_exit_in_a_test(project: Project, traces: Traces) -> None:
    """A process that ends without pytest's own end leaves nothing, and soon."""
    project.write("import os\ndef test_it(dind_daemon): os._exit(5)")
    project.run(code=5)
    traces.assert_nothing_left(seconds=3)


def test_program_that_outlives_the_run(project: Project, traces: Traces) -> None:
    """A program that a test left running does not keep the daemon."""
    project.write(
        """
        import os, subprocess

        def test_it(dind_env):
            program = subprocess.Popen(["sleep", "60"], env=dind_env, close_fds=False,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with open("program", "w") as file:
                print(program.pid, file=file)
            program.returncode = 0
            os.kill(os.getpid(), 9)
        """
    )
    project.run(code=-signal.SIGKILL)
    program = int((project.path / "program").read_text())
    try:
        traces.assert_nothing_left(seconds=3)
        os.kill(program, 0)
    finally:
        os.kill(program, signal.SIGKILL)


def test_end_that_fails(project: Project, traces: Traces) -> None:
    """A daemon that can't be ended costs neither the summary nor, in the end, the daemon."""
    project.write("def test_it(dind_client): assert dind_client.ping()")
    project.write(
        """
        from pytest_dind.runs.starter import Starter

        def fail(*arguments):
            raise ConnectionError("the engine is gone")

        Starter.end = fail
        """,
        "conftest.py",
    )
    output = project.run()

    assert "could not be ended or kept: the engine is gone" in output
    assert "1 passed" in output
    traces.assert_nothing_left(seconds=3)


_IN_HASTE = """
    from pytest_dind.runs import ending

    ending.SECONDS = 3
"""


def test_engine_that_hangs(project: Project, traces: Traces, engine: Engine) -> None:
    """An engine that hangs holds the end of a run up no longer than it may; the rest is told."""
    mark = project.path / "hang"
    project.write(_IN_HASTE, "conftest.py")
    project.write(
        """
        from pathlib import Path

        def test_it(dind_client):
            dind_client.networks.create("of-ends")
            Path("hang").touch()
        """
    )
    with hung_engine(engine, project.path.parent, mark) as hung:
        process = project.start(f"--dind-host={hung.url}")
        until(lambda: mark.exists() or process.poll() is not None, 60, "the test has run")
        began = time.monotonic()
        output, _ = process.communicate(timeout=60)
        seconds = time.monotonic() - began

        assert "1 passed" in output
        assert hung.asked
        assert re.search(
            r"dind: pytest-dind-\w+-main is left to its lease, the reaper and the next run's "
            rf"sweep: the engine at {hung.url} does not answer",
            output,
        )
        # A single call may take a minute.
        assert seconds < 30
        hung.wake()
        traces.assert_nothing_left(seconds=10)
