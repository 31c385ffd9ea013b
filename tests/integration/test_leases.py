"""What ends with its last user: under xdist, without the reaper, and before there is a lease."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from ..support import until
from .projects import Project, Run
from .traces import Traces

# The kernel ends a container by its control groups, and does not where those are frozen.
pytestmark = pytest.mark.cgroups

_IN_A_TEST = """
    import signal

    def test_it(dind_daemon, worker_id):
        open(f"in-a-test-{worker_id}", "w").close()
        signal.pause()
"""

# Ends the run's own process at the end of a request: the engine has all of it. The connection
# outlives the run a little: newer engines break off what they do for a client that has left.
_DIE_IN_REQUEST = """
    import http.client, os, pathlib, signal, subprocess

    put, get = http.client.HTTPConnection.putrequest, http.client.HTTPConnection.getresponse

    def putrequest(self, method, url, **kwargs):
        self.asked = url
        put(self, method, url, **kwargs)

    def getresponse(self):
        if {part!r} in self.asked:
            null, connection = subprocess.DEVNULL, self.sock.fileno()
            subprocess.Popen(["sleep", "3"], pass_fds=[connection], stdout=null, stderr=null)
            for pid in pathlib.Path("victims").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        return get(self)

    http.client.HTTPConnection.putrequest = putrequest
    http.client.HTTPConnection.getresponse = getresponse
"""


def _reapers(project: Project) -> list[int]:
    """The reapers of a project's runs."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (path / "cmdline").read_bytes()
            if b"lifetime.reaper" in line and os.fsencode(project.temp) in line:
                found.append(int(path.name))
    return found


def _kill_reapers(project: Project) -> None:
    found = _reapers(project)
    assert found
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not _reapers(project), 5, "no reaper runs")


def _in_a_test(project: Project, *options: str, worker: str = "master") -> Run:
    """A run that has come to its test, which goes on for good."""
    project.write(_IN_A_TEST)
    process = project.start(*options)
    project.reached(f"in-a-test-{worker}", process)
    return process


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.engines)],
)
def test_signal_to_all_workers(project: Project, traces: Traces, number: signal.Signals) -> None:
    """A signal to a run with workers ends its daemon within three seconds."""
    process = _in_a_test(project, "-n2", "--dist=each", worker="gw1")
    os.killpg(process.pid, number)
    process.communicate(timeout=20)
    traces.assert_nothing_left(seconds=3)


def test_reaper_that_was_killed(project: Project, traces: Traces) -> None:
    """Without its reaper a killed run's daemon ends all the same; the next run does the rest."""
    process = _in_a_test(project)
    _kill_reapers(project)
    process.kill()
    process.wait()
    until(lambda: not traces.containers(), 3, "the container is gone")
    assert list(project.temp.glob("pytest-dind-*/*/main"))

    project.write("def test_it(dind_daemon): pass")
    project.run()
    traces.assert_nothing_left(seconds=1)


@pytest.mark.engines
@pytest.mark.requires_isolation
def test_killed_while_the_container_is_made(project: Project, traces: Traces) -> None:
    """A container that the engine was still making when its run was killed goes too."""
    project.write(_DIE_IN_REQUEST.format(part="/containers/create"), "conftest.py")
    project.write("def test_it(dind_daemon): pass")
    (project.path / "victims").touch()
    project.run(code=-signal.SIGKILL)
    # The engine has it a little later, if it comes to that at all.
    with contextlib.suppress(AssertionError):
        until(traces.containers, 1, "there is a container")
    traces.assert_nothing_left(seconds=4)


@pytest.mark.requires_isolation
def test_deadline_of_its_own(project: Project, traces: Traces) -> None:
    """A daemon whose run and reaper were gone before it could see a lease ends by its deadline."""
    project.write(
        _DIE_IN_REQUEST.format(part="-main/start")
        + """
    import contextlib
    from pytest_dind.lifetime import reaper
    watching = reaper.watching

    @contextlib.contextmanager
    def noted(run):
        with watching(run) as process:
            yield process
        process.wait()
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if os.fsencode(run) in path.read_bytes():
                    with open("victims", "a") as file:
                        print(path.parent.name, file=file)

    reaper.watching = noted
    """,
        "conftest.py",
    )
    project.write("def test_it(dind_daemon): pass")
    project.run("--dind-timeout=2", code=-signal.SIGKILL)
    assert not _reapers(project)
    until(
        lambda: [c for c in traces.containers() if traces.state(c) == "running"],
        5,
        "the container runs without a user",
    )
    until(lambda: not traces.containers(), 5, "the container is gone")

    (project.path / "conftest.py").unlink()
    project.run()
    traces.assert_nothing_left(seconds=1)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_child_that_outlives_the_run(project: Project, traces: Traces, method: str) -> None:
    """A child of multiprocessing does not keep the daemon, nor does one that ends take it."""
    project.write(
        """
        import os, signal, docker

        def use(host):
            client = docker.DockerClient(base_url=host)
            assert client.ping()
            client.close()

        def stay(host, pipe):
            use(host)
            pipe.send(os.getpid())
            signal.pause()
        """,
        "children.py",
    )
    project.write(
        f"""
        import multiprocessing, os, children

        def test_children(dind_daemon, dind_client):
            context = multiprocessing.get_context({method!r})
            first = context.Process(target=children.use, args=(dind_daemon.host,))
            first.start()
            first.join()
            assert first.exitcode == 0
            assert dind_client.ping()
            here, there = context.Pipe()
            context.Process(target=children.stay, args=(dind_daemon.host, there)).start()
            with open("child", "w") as file:
                print(here.recv(), file=file)

        def test_daemon_is_still_there(dind_client):
            assert dind_client.ping()
            os._exit(3)
        """
    )
    # That a process with threads forks is what newer versions of Python warn of, and it is meant.
    # A forked child has the output open, so that reading to its end would wait for the child.
    project.run(
        *("-W", "ignore::DeprecationWarning", "-o", "pythonpath=."),
        before=["sh", "-c", 'exec "$@" >output 2>&1', "sh"],
        code=3,
    )
    child = int((project.path / "child").read_text())
    try:
        traces.assert_nothing_left(seconds=3)
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.requires_isolation
def test_forked_copies_of_the_run(project: Project, traces: Traces) -> None:
    """A fork of the whole run ends nothing, be it by exiting or by going through all its end."""
    project.write(
        """
        import os, pytest

        def test_exits_at_once(dind_client):
            child = os.fork()
            if not child:
                os._exit(0)
            os.waitpid(child, 0)
            assert dind_client.ping()

        def test_goes_through_its_end(dind_client):
            child = os.fork()
            if not child:
                pytest.exit("the child's end", returncode=0)
            assert os.waitpid(child, 0) == (child, 0)

        def test_daemon_is_still_there(dind_client, dind_daemon):
            assert dind_client.ping()
            assert dind_daemon.container.status == "running"
        """
    )
    project.run("-W", "ignore::DeprecationWarning")
    traces.assert_nothing_left(seconds=1)
