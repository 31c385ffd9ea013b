"""A daemon that ends while tests use it."""

from __future__ import annotations

import re
import time

import pytest

from .projects import Project
from .traces import Traces

# What these tests look at is a daemon of the run's own: its container, or what is in it alone.
pytestmark = pytest.mark.requires_isolation

# How a test, or the out-of-memory killer, ends the daemon.
_HARMS = {
    "dockerd": "dind_daemon.exec(['sh', '-c', 'kill -9 $(cat /var/run/docker.pid)'], check=False)",
    "container": "dind_daemon.container.kill()",
    "rm -f": "subprocess.run(['docker', 'rm', '-f', dind_daemon.id], check=True)",
}
_SUITE = """
    import subprocess, pytest

    def test_before(dind_client):
        assert dind_client.ping()

    def test_that_sees_it(dind_daemon, dind_client):
        {harm}
        for attempt in range(1000):
            dind_client.ping()

    @pytest.mark.parametrize("number", range(5))
    def test_later(dind_client, number):
        assert dind_client.ping()

    def test_that_needs_none():
        pass
"""
_SECONDS = 20


# What the kernel says of the end of a group it says of each version in its own way.
@pytest.mark.cgroups
@pytest.mark.parametrize("harm", _HARMS)
def test_daemon_that_is_killed(project: Project, traces: Traces, mode: str, harm: str) -> None:
    """The test that sees it and all later ones that need it fail, soon, on the same account."""
    project.write(_SUITE.format(harm=_HARMS[harm]))
    output = project.run(code=1, seconds=_SECONDS)

    assert re.search(r"1 failed, 2 passed, 5 errors in|6 failed, 2 passed in", output), output
    said = f"DaemonLost: The daemon 'main' (mode {mode}) is gone; tests that need it fail."
    assert output.count(said) == 6, output
    assert output.count("Exit code 137: it was killed (SIGKILL), most often by the out-of-") >= 6
    assert "API listen on /run/pytest-dind/docker.sock" in output
    assert "Give the machine more memory, or run fewer tests at once." in output
    traces.assert_nothing_left(seconds=1)


def test_later_tests_fail_at_once(project: Project) -> None:
    """Hundreds of tests whose daemon is gone take no longer than the first that saw it."""
    project.write(_SUITE.format(harm=_HARMS["dockerd"]).replace("range(5)", "range(300)"))
    began = time.monotonic()
    output = project.run("--tb=line", code=1, seconds=_SECONDS)

    assert time.monotonic() - began < _SECONDS
    assert output.count("DaemonLost") >= 301, output


def test_with_workers(project: Project, traces: Traces) -> None:
    """Every worker tells the loss; the run ends, with exit code 1."""
    project.write(_SUITE.format(harm=_HARMS["container"]))
    output = project.run("-n2", code=1, seconds=2 * _SECONDS)

    assert "DaemonLost: The daemon 'main'" in output
    assert "Exit code 137" in output
    traces.assert_nothing_left(seconds=1)


@pytest.mark.parametrize("when", ["before", "after"])
def test_seen_in_a_fixture(project: Project, when: str) -> None:
    """A fixture of the test's own that fails on the loss says so, in its set-up and at its end."""
    harm = _HARMS["container"]
    project.write(
        f"""
        import pytest

        @pytest.fixture
        def network(dind_daemon, dind_client):
            {harm if when == "before" else "pass"}
            network = dind_client.networks.create("of-lost")
            yield network
            {harm if when == "after" else "pass"}
            for attempt in range(1000):
                network.reload()

        def test_it(network):
            pass
        """
    )
    output = project.run(code=1, seconds=_SECONDS)

    assert "DaemonLost: The daemon 'main'" in output, output


def test_maxfail(project: Project) -> None:
    """`--maxfail=1` ends the run at the first, with the cause in the summary line."""
    project.write(_SUITE.format(harm=_HARMS["dockerd"]))
    output = project.run("--maxfail=1", code=1, seconds=_SECONDS)

    assert "FAILED test_it.py::test_that_sees_it - DaemonLost: The daemon " in output
    assert "1 failed, 1 passed in" in output


@pytest.mark.parametrize("ahead", [-86400, 86400])
def test_clock_that_jumps(project: Project, traces: Traces, ahead: int) -> None:
    """A clock that a day is added to or taken from neither hangs a run nor leaves anything."""
    project.write(
        f"""
        import time

        def jump(now=time.time):
            time.time = lambda: now() + {ahead}
        """,
        "clock.py",
    )
    project.write(
        f"""
        import clock, subprocess

        def test_jump(dind_client):
            clock.jump()
            assert dind_client.ping()

        def test_that_sees_it(dind_daemon, dind_client):
            {_HARMS["rm -f"]}
            dind_client.ping()
        """
    )
    output = project.run("-p", "no:randomly", code=1, seconds=_SECONDS)

    assert "1 failed, 1 passed" in output
    assert "DaemonLost" in output
    traces.assert_nothing_left(seconds=1)


def test_cleaned_temp_dir(project: Project, traces: Traces) -> None:
    """When a tmp cleaner took the run's directory, tests fail clearly; nothing is left."""
    project.write(
        """
        import shutil

        def test_cleaner(dind_daemon):
            shutil.rmtree(dind_daemon.record.home.path.parent)

        def test_later(dind_daemon):
            pass
        """
    )
    output = project.run(code=1, seconds=_SECONDS)

    assert "1 passed, 1 error" in output
    assert "DaemonLost: The daemon 'main'" in output
    traces.assert_nothing_left(seconds=3)


@pytest.mark.requires_isolation
@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "shared"])
def test_calls_of_the_handle(project: Project, workers: tuple[str, ...]) -> None:
    """A test that asks the handle of a daemon that was just killed has its loss to catch."""
    project.write(
        """
        import pathlib, pytest
        from pytest_dind import DaemonLost

        @pytest.mark.dind_clean
        def test_it(dind_daemon, tmp_path):
            archive = tmp_path / "some.tar"
            archive.write_bytes(b"as good as any")
            (tmp_path / "Dockerfile").write_text("FROM scratch\\n")
            dind_daemon.container.kill()
            for call in (
                lambda: dind_daemon.address("web", 80),
                lambda: dind_daemon.load(archive),
                lambda: dind_daemon.build(tmp_path, "some:tag"),
            ):
                with pytest.raises(DaemonLost):
                    call()
            open("was-here", "w").close()
        """
    )
    project.run(*workers, code=1)
    assert (project.path / "was-here").exists()
