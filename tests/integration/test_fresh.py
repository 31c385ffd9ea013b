"""A daemon of each test's own, started ahead: empty, with the run's settings, and gone after it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pytest_dind.engine.engine import Engine

from .projects import Project
from .traces import Traces, created

# In mode socket no test has a daemon of its own.
pytestmark = pytest.mark.requires_isolation

# What tests in a project share: the daemons of the pool that there are, as files tell.
_POOL = """
    import glob, os, subprocess, sys, time

    def homes(name="state.json"):
        return glob.glob(os.environ["TMPDIR"] + f"/pytest-dind-*/*/fresh-*/{name}")

    def until(condition):
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)
"""


def test_a_daemon_each(project: Project, traces: Traces, engine: Engine, room: Path) -> None:
    """Each test has its own, the next one's starts meanwhile, and no more start than are needed."""
    project.write(_POOL, "pool.py")
    project.write(
        """
        import subprocess, sys

        import pytest
        from pool import homes, until

        @pytest.mark.parametrize("n", range(3))
        def test_it(dind_fresh, n):
            client = dind_fresh.client()
            assert not client.volumes.list()
            assert client.info()["Labels"] == ["mine=yes"]
            client.volumes.create("left")
            client.close()
            # That of the test before goes, and the next one gets ready.
            spares = 1 if n < 2 else 0
            until(lambda: len(homes()) == 1 + spares and len(homes("spare")) == spares)
            listed = subprocess.run(
                [sys.executable, "-m", "pytest_dind", "ps"], check=True, capture_output=True
            )
            assert listed.stdout.count(b"in use, spare") == spares

        def test_last():
            until(lambda: not homes())
        """
    )
    began = time.time()
    assert "4 passed" in project.run("--dind-arg=--label=mine=yes", "--dind-leaks=fail")
    assert created(engine.client, room, "daemon", began) == 3
    traces.assert_nothing_left()


def test_workers(project: Project, traces: Traces, engine: Engine, room: Path) -> None:
    """Under xdist each worker has its pool; together they start no more than there are tests."""
    project.write(
        """
        import pytest

        @pytest.mark.parametrize("n", range(4))
        def test_it(dind_fresh, n):
            assert dind_fresh.client().ping()
        """
    )
    began = time.time()
    assert "4 passed" in project.run("-n2", "--dind-spares=3")
    assert created(engine.client, room, "daemon", began) == 4
    traces.assert_nothing_left()


def test_killed_run_with_spares(project: Project, traces: Traces) -> None:
    """After a SIGKILL the spares go, too, ready or starting."""
    project.write(_POOL, "pool.py")
    project.write(
        """
        import pathlib, time

        import pytest
        from pool import homes, until

        @pytest.mark.parametrize("n", range(4))
        def test_it(dind_fresh, n):
            until(lambda: homes("spare"))
            pathlib.Path("reached").touch()
            time.sleep(600)
        """
    )
    process = project.start("--dind-spares=2")
    project.reached("reached", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    traces.assert_nothing_left(15)


def test_settings_that_rest_on_a_fixture(project: Project, traces: Traces) -> None:
    """The pool has a project's own settings; it ends before what those rest on, and with spares."""
    project.write(_POOL, "pool.py")
    project.write(
        """
        import pytest
        from pool import homes

        @pytest.fixture(scope="session")
        def label():
            yield "of=fixture"
            assert not homes()

        @pytest.fixture(scope="session")
        def dind_config(dind_config, label):
            return dind_config.replace(arg=[f"--label={label}"])
        """,
        "conftest.py",
    )
    project.write(
        """
        from pool import homes, until

        def test_one(dind_fresh):
            assert dind_fresh.client().info()["Labels"] == ["of=fixture"]
            until(lambda: homes("spare"))
            raise RuntimeError("the run ends here")

        def test_two(dind_fresh):
            pass
        """
    )
    output = project.run("-x", code=1)
    assert "the run ends here" in output
    assert "1 failed in" in output, output
    traces.assert_nothing_left()


def test_failures(project: Project, traces: Traces) -> None:
    """A failed test's report has its daemon's log; a lost daemon is told of, and is no other's."""
    project.write(
        """
        def test_lost(dind_fresh):
            client = dind_fresh.client()
            dind_fresh.container.kill()
            client.ping()

        def test_next(dind_fresh):
            client = dind_fresh.client()
            client.volumes.create("made")
            client.close()
            assert False, "of its own"

        def test_stopped(dind_fresh):
            dind_fresh.stop()
        """
    )
    output = project.run("-rf", code=1)
    assert "DaemonLost: The daemon 'fresh-1' (mode " in output, output
    assert "FAILED test_it.py::test_next - AssertionError: of its own" in output, output
    assert "events of daemon 'fresh-2' since the test began" in output, output
    assert "2 failed, 1 passed" in output
    traces.assert_nothing_left()


_FACTORY = """
    import time

    import pytest
    from pool import homes, until

    @pytest.fixture(scope="session")
    def pair(dind_factory):
        until(lambda: homes("spare"))
        pair = [dind_factory(), dind_factory("named")]
        yield pair
        # The pool has ended; what it lent has not.
        assert pair[0].client().ping()

    def test_factory(pair):
        lent, named = pair
        assert (lent.name, named.name) == ("fresh-1", "named")
        for here, there in (pair, pair[::-1]):
            assert here.exec(["getent", "hosts", there.name]).stdout.split()[1] == there.name
        {more}

    def test_fresh(dind_fresh, pair):
        assert dind_fresh.id not in {{daemon.id for daemon in pair}}
        assert pair[0].client().ping()
"""


def test_factory(project: Project, traces: Traces, engine: Engine, room: Path) -> None:
    """dind_factory takes a spare, which is in its network, and outlives the pool."""
    project.write(_POOL, "pool.py")
    project.write(_FACTORY.format(more=""))
    began = time.time()
    assert "2 passed" in project.run()
    assert created(engine.client, room, "daemon", began) == 3
    traces.assert_nothing_left()


def test_killed_run_with_a_lent_spare(project: Project, traces: Traces) -> None:
    """After a SIGKILL the network goes, though a daemon of the pool's run is in it."""
    project.write(_POOL, "pool.py")
    project.write(_FACTORY.format(more="open('reached', 'w').close(); time.sleep(600)"))
    process = project.start()
    project.reached("reached", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    traces.assert_nothing_left(15)
