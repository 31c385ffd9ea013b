"""One daemon for all workers of a run, or one for each; and workers that die."""

from __future__ import annotations

import re

import pytest

from .projects import Project
from .traces import Traces

# What these tests look at is a daemon of the run's own: its container, or what is in it alone.
pytestmark = pytest.mark.requires_isolation

_NOTE = """
    def test_it(dind_daemon, dind_client, worker_id):
        assert dind_client.ping()
        with open("ids", "a") as file:
            print(worker_id, dind_daemon.id, file=file)
"""
_READY = re.compile(r"^dind: daemon 'main' ready in ", re.MULTILINE)

# Kills the first worker that starts a daemon, at the end of its request to create the container:
# the engine has all of it, the worker nothing of the answer. Or in the wait for the daemon.
_KILL_THE_STARTER = """
    import http.client, os, pathlib, signal

    import pytest

    @pytest.fixture(scope="session")
    def dind_config(dind_config):
        # So that the start is in a test, and not in the background, where no test may run yet.
        return dind_config

    def die():
        try:
            pathlib.Path("died").touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    if {in_request}:
        put, get = http.client.HTTPConnection.putrequest, http.client.HTTPConnection.getresponse

        def putrequest(self, method, url, **kwargs):
            self.asked = url
            put(self, method, url, **kwargs)

        def getresponse(self):
            if "/containers/create" in self.asked and "-main" in self.asked:
                die()
            return get(self)

        http.client.HTTPConnection.putrequest = putrequest
        http.client.HTTPConnection.getresponse = getresponse
    else:
        from pytest_dind.backends import readiness

        readiness.wait_until_ready = lambda *args, wait=readiness.wait_until_ready, **kwargs: (
            die() or wait(*args, **kwargs)
        )
"""


def _ids(project: Project) -> dict[str, str]:
    """The daemon's id in each worker."""
    return dict(line.split() for line in (project.path / "ids").read_text().splitlines())


@pytest.mark.parametrize("workers", [4, 8])
def test_one_daemon_for_all_workers(project: Project, traces: Traces, workers: int) -> None:
    """All workers have the same daemon; it is told of once."""
    project.write(_NOTE)
    output = project.run(f"-n{workers}", "--dist=each")
    ids = _ids(project)

    assert len(ids) == workers
    assert len(set(ids.values())) == 1
    assert len(_READY.findall(output)) == 1
    traces.assert_nothing_left(seconds=1)


def test_one_daemon_for_each_worker(project: Project, traces: Traces) -> None:
    """With scope worker each worker has its own, which ends with the worker."""
    project.write(_NOTE)
    output = project.run("-n2", "--dist=each", "--dind-scope=worker")

    assert len(set(_ids(project).values())) == 2
    assert len(_READY.findall(output)) == 2
    traces.assert_nothing_left(seconds=1)


@pytest.mark.parametrize(("scope", "daemons"), [("session", 1), ("worker", 2)])
def test_overridden_settings(project: Project, scope: str, daemons: int) -> None:
    """What `dind_config` is overridden with holds for both scopes, and may choose the scope."""
    project.write(
        f"""
        import pytest

        @pytest.fixture(scope="session")
        def dind_config(dind_config):
            return dind_config.replace(arg=["--label=mine=1"], scope="{scope}")
        """,
        "conftest.py",
    )
    project.write(_NOTE)
    project.write(
        "def test_it(dind_client): assert 'mine=1' in dind_client.info()['Labels']", "test_too.py"
    )
    project.run("-n2", "--dist=each")

    assert len(set(_ids(project).values())) == daemons


def test_workers_of_two_minds(project: Project, traces: Traces) -> None:
    """Workers that ask for one daemon with different settings are told which ones differ."""
    project.write(
        """
        import pytest

        @pytest.fixture(scope="session")
        def dind_config(dind_config, worker_id):
            return dind_config.replace(arg=[f"--label=worker={worker_id}"])
        """,
        "conftest.py",
    )
    project.write("def test_it(dind_daemon): pass")
    output = project.run("-n2", "--dist=each", code=1)

    assert "1 passed, 1 error" in output
    assert "This run already has a daemon 'main', with other settings." in output
    assert "arg: ['--label=worker=gw" in output
    assert "--dind-scope worker" in output
    traces.assert_nothing_left(seconds=1)


@pytest.mark.parametrize("in_request", [True, False])
def test_worker_killed_in_the_start(project: Project, traces: Traces, in_request: bool) -> None:
    """The start of a worker that is killed is taken over by the next, with one daemon again."""
    project.write(_KILL_THE_STARTER.format(in_request=in_request), "conftest.py")
    project.write(
        """
        import pytest

        @pytest.mark.parametrize("number", range(6))
        def test_it(dind_daemon, dind_client, number):
            assert dind_client.ping()
            with open("ids", "a") as file:
                print(number, dind_daemon.id, file=file)
        """
    )
    output = project.run("-n2", code=1)

    assert "1 failed, 5 passed" in output
    assert re.search(r"worker 'gw\d' crashed while running", output)
    assert len(set(_ids(project).values())) == 1
    traces.assert_nothing_left(seconds=1)


def test_controller_ends_it(project: Project, traces: Traces) -> None:
    """Workers that are done leave the daemon; it is gone when the controller's session is."""
    project.write(
        """
        import docker, pytest

        def look(when):
            with open("ids") as file:
                daemon = file.readline().split()[1]
            client = docker.from_env()
            found = [c for c in client.api.containers(all=True) if c["Id"] == daemon]
            client.close()
            with open("looks", "a") as file:
                print(when, len(found), file=file)

        def pytest_testnodedown(node):
            look("worker")

        @pytest.hookimpl(wrapper=True)
        def pytest_sessionfinish(session):
            yield
            if not hasattr(session.config, "workerinput"):
                look("controller")
        """,
        "conftest.py",
    )
    project.write(_NOTE)
    project.run("-n2", "--dist=each")

    assert (project.path / "looks").read_text().splitlines() == [
        "worker 1",
        "worker 1",
        "controller 0",
    ]
