"""The daemon starts while tests run that don't need it."""

from __future__ import annotations

import signal
import textwrap

import pytest

from ..support import until
from .conftest import DeriveImage
from .projects import CUT_SHORT, Project
from .traces import Traces

_WAITS_FOR_THE_DAEMON = """
    import glob, os, time

    def test_without():
        # Ends as soon as the daemon is there, which nothing has asked for yet.
        pattern = os.environ["TMPDIR"] + "/pytest-dind-*/*/main/state.json"
        deadline = time.monotonic() + 30
        while not glob.glob(pattern):
            assert time.monotonic() < deadline
            time.sleep(0.01)
"""


def test_boot_is_hidden(project: Project) -> None:
    """A test that needs no daemon runs meanwhile, and the first that does has it at once."""
    project.write(
        f"""
        {_WAITS_FOR_THE_DAEMON}
    def test_with(dind_client):
        assert dind_client.ping()
    """
    )
    assert "2 passed" in project.run()


def test_boot_is_hidden_from_workers(project: Project) -> None:
    """Under xdist the first worker starts the daemon for all of them."""
    project.write(
        f"""
        {_WAITS_FOR_THE_DAEMON}
    def test_with(dind_client):
        assert dind_client.ping()
    """
    )
    assert "2 passed" in project.run("-n", "2")


@pytest.mark.requires_isolation
def test_error_surfaces_in_the_test_that_asks(project: Project) -> None:
    """What goes wrong ahead fails no test but the first that asks, with its whole text."""
    project.write(
        """
        def test_without():
            pass

        def test_with(dind_client):
            pass
        """
    )
    output = project.run("--dind-arg=--nonsense", code=1)

    assert "1 passed, 1 error" in output
    assert "DaemonExited" in output
    assert "unknown flag: --nonsense" in output


@pytest.mark.requires_isolation
def test_own_settings_are_waited_for(project: Project) -> None:
    """Where a conftest.py has settings of its own, nothing starts before they are known."""
    project.write(
        """
        import pytest

        @pytest.fixture(scope="session")
        def dind_config(dind_config):
            return dind_config.replace(arg=["--label=of=conftest"])
        """,
        "conftest.py",
    )
    project.write(
        """
        def test_with(dind_client):
            assert "of=conftest" in dind_client.info()["Labels"]
        """
    )
    assert "1 passed" in project.run()


def test_skipped_tests_start_nothing(project: Project, traces: Traces) -> None:
    """Tests that a marker skips need no daemon, so none starts."""
    project.write(
        """
        import os, pathlib, pytest

        @pytest.mark.requires_engine(">=1000")
        @pytest.mark.skip
        def test_with(dind_client):
            pass

        def test_without():
            base = pathlib.Path(os.environ["TMPDIR"], f"pytest-dind-{os.getuid()}")
            assert not list(base.glob("*/main"))
        """
    )
    assert "1 passed, 1 skipped" in project.run()


@pytest.mark.requires_isolation
def test_interrupt_while_it_starts(project: Project, traces: Traces, derive: DeriveImage) -> None:
    """Ctrl-C in a test, while a daemon starts that never gets ready, ends it and leaves nothing."""
    project.write(
        """
        import threading

        def test_without():
            threading.Event().wait()

        def test_with(dind_client):
            pass
        """
    )
    never_ready = derive("printf '#!/bin/sh\\nexec sleep 1000' >$(command -v dockerd)")
    process = project.start(*CUT_SHORT, "--dind-image", never_ready)
    until(traces.containers, 30, "a container is there")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    assert process.returncode == 2


_ASKS = "def test_with(dind_client): assert dind_client.ping()"
# Collection ends as soon as the daemon is there.
_COLLECTED_LATE = (
    textwrap.dedent(_WAITS_FOR_THE_DAEMON).replace("test_without", "wait") + "\nwait()\n"
)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_start_beside_collection(project: Project, workers: str) -> None:
    """Where the last run with these options needed the daemon, it starts with the session."""
    project.has_cache = True
    project.write(_ASKS)
    project.run("-n", workers)
    project.write(_COLLECTED_LATE + _ASKS)
    assert "1 passed" in project.run("-n", workers)


def test_other_options(project: Project) -> None:
    """A run with other options, or with `--dind-ahead=off`, is not guessed about."""
    project.has_cache = True
    project.write(_ASKS)
    project.run()
    # At the time of collection nothing is there, nor about to be.
    project.write(
        f"""
        import threading
        assert "pytest-dind" not in {{thread.name for thread in threading.enumerate()}}
        {_ASKS}
        """
    )
    project.run("-v")
    project.run("--dind-ahead=off")


def test_wrong_guess(project: Project, traces: Traces) -> None:
    """A guess that was wrong is undone without a word, while the run goes on."""
    project.has_cache = True
    project.write(_ASKS)
    project.run()
    project.write(
        _COLLECTED_LATE
        + """
def test_without():
    deadline = time.monotonic() + 30
    while glob.glob(os.environ["TMPDIR"] + "/pytest-dind-*/*/main"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
"""
    )
    output = project.run()
    assert "1 passed" in output
    assert "dind: " not in output
    traces.assert_nothing_left()

    # And it is not made again.
    project.write(
        """
        import threading
        assert "pytest-dind" not in {thread.name for thread in threading.enumerate()}
        def test_without(): pass
        """
    )
    project.run()


@pytest.mark.requires_isolation
def test_settings_that_came_since(project: Project, traces: Traces) -> None:
    """A conftest.py that has settings of its own since the last run gets a daemon with them."""
    project.has_cache = True
    project.write(_ASKS)
    project.run()
    project.write(
        """
        import pytest

        @pytest.fixture(scope="session")
        def dind_config(dind_config):
            return dind_config.replace(arg=["--label=of=conftest"])
        """,
        "conftest.py",
    )
    project.write(
        'def test_with(dind_client): assert "of=conftest" in dind_client.info()["Labels"]'
    )
    assert "1 passed" in project.run()
    traces.assert_nothing_left()


_WAITS_FOR_A_SWARM = """
import glob, os, time

def wait(pattern, there=True):
    deadline = time.monotonic() + 60
    while bool(glob.glob(os.environ["TMPDIR"] + "/pytest-dind-*/*/" + pattern)) is not there:
        assert time.monotonic() < deadline
        time.sleep(0.01)
"""
_ASKS_FOR_A_SWARM = "def test_with(dind_swarm): assert dind_swarm.nodes[0].name == 'swarm1-node1'\n"


@pytest.mark.requires_isolation
def test_swarm_starts_while_others_run(project: Project) -> None:
    """A swarm that a test is certain to need starts while tests run that don't need it."""
    project.write(
        _WAITS_FOR_A_SWARM
        + 'def test_without(): wait("swarm1-node1/state.json")\n'
        + _ASKS_FOR_A_SWARM
    )
    assert "2 passed" in project.run("--dind-nodes=1")


@pytest.mark.requires_isolation
def test_swarm_beside_collection(project: Project, traces: Traces) -> None:
    """So it does with the session after a run that had one; a wrong guess is undone silently."""
    project.has_cache = True
    marked = "import pytest\npytestmark = pytest.mark.requires_isolation\n"
    project.write(marked + _ASKS_FOR_A_SWARM)
    project.run("--dind-nodes=1")
    late = marked + _WAITS_FOR_A_SWARM + 'wait("swarm1-node1/state.json")\n'
    project.write(late + _ASKS_FOR_A_SWARM)
    assert "1 passed" in project.run("--dind-nodes=1")

    project.write(late + 'def test_without(): wait("swarm1-node1", there=False)\n')
    output = project.run("--dind-nodes=1")
    assert "1 passed" in output
    assert "dind: " not in output
    traces.assert_nothing_left()

    # And it is not made again.
    project.write(
        """
        import threading
        assert "pytest-dind" not in {thread.name for thread in threading.enumerate()}
        def test_without(): pass
        """
    )
    project.run("--dind-nodes=1")


@pytest.mark.requires_isolation
def test_interrupt_while_a_swarm_starts(project: Project, traces: Traces) -> None:
    """A session that ends while one is starting, which nobody has asked for, leaves nothing."""
    project.write(
        """
        def test_without():
            assert 0

        def test_with(dind_swarm):
            pass
        """
    )
    assert "1 failed" in project.run("-x", code=1)
    traces.assert_nothing_left()
