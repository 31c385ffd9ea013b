"""Engines whose socket is here and whose network is not, and daemons in daemons of the plugin."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import Daemon, Settings
from pytest_dind.backends.protocol import LOOPBACK
from pytest_dind.runs.run import Run

from ..support import remove_tree, until
from .other import OtherHost
from .projects import Project
from .traces import Traces

# The other host takes seconds to make: one worker has all that use it.
pytestmark = pytest.mark.xdist_group("other")

_ROOT = Path(__file__).parents[2]
_ELSEWHERE = "its network is not this process's"
_SERVER = ["sh", "-c", "echo near >/index.html; exec httpd -f -p 80 -h /"]


@pytest.fixture
def traces(other: OtherHost, room: Path) -> Iterator[Traces]:
    """What a test leaves on the other host, and here; in the end that is nothing."""
    traces = Traces(other.client, room)
    yield traces
    traces.assert_nothing_left()


@pytest.fixture
def project(room: Path, other: OtherHost, traces: Traces) -> Iterator[Project]:
    """A project whose runs use the other host's engine by its socket."""
    host = f"--dind-host=unix://{other.socket}"
    with Project(room, host, "--dind-image", DAEMON_IMAGE, "--dind-mode", "dind") as project:
        yield project


@pytest.fixture(scope="module")
def apart(other: OtherHost) -> Iterator[Daemon]:
    """A daemon of an engine of which nothing but its socket is here."""
    settings = Settings(
        mode="dind", image=DAEMON_IMAGE, host=f"unix://{other.socket}", load=(NESTED_IMAGE,)
    )
    with contextlib.closing(Run.begin(print)) as run:
        yield run.daemon(settings)


def _get(host: str, port: int) -> bytes:
    with urllib.request.urlopen(f"http://{host}:{port}/", timeout=20) as got:
        return bytes(got.read())


def test_examples_in_a_daemon_of_the_plugin() -> None:
    """A suite that uses the plugin runs on a daemon of the plugin: three levels, and no network."""
    settings = Settings(
        mode="dind", image=DAEMON_IMAGE, load=(DAEMON_IMAGE, NESTED_IMAGE), cache="off"
    )
    with contextlib.closing(Run.begin(print)) as run:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--dind-mode=dind"),
                *("--dind-image", DAEMON_IMAGE, "--dind-load", NESTED_IMAGE, "--dind-cache=off"),
                "examples/test_containers.py",
            ],
            cwd=_ROOT,
            env=run.daemon(settings).environment(),
            capture_output=True,
            text=True,
            timeout=180,
        )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    assert f"docker.sock: through the engine, because {_ELSEWHERE}" in done.stdout


def test_commands_and_logs(apart: Daemon) -> None:
    """The handle works by the engine's socket alone, and tools find a socket of this machine."""
    assert apart.host == f"unix://{apart.record.home.path}/docker.sock"
    assert Path(apart.host.removeprefix("unix://")).stat().st_mode & 0o077 == 0
    assert len(apart.exec(["cat"], stdin="x" * 300_000).stdout) == 300_000
    assert "API listen on" in apart.logs()
    assert apart.gateway == ""
    ask = "import docker; print(docker.from_env().info()['ID'])"
    told = subprocess.run(
        [sys.executable, "-c", ask], env=apart.environment(), check=True, capture_output=True
    )
    with contextlib.closing(apart.client()) as client:
        assert told.stdout.decode().strip() == client.info()["ID"]
    # Both directions of a stream end each by itself.
    counted = subprocess.run(
        ["docker", "run", "-i", "--rm", NESTED_IMAGE, "wc", "-c"],
        input=b"x" * 300_000,
        env=apart.environment(),
        capture_output=True,
        timeout=60,
    )
    assert counted.stdout.strip() == b"300000", counted.stderr


def test_address(apart: Daemon) -> None:
    """A published port is reached on this machine's loopback, through the engine."""
    with contextlib.closing(apart.client()) as client:
        container = client.containers.run(
            NESTED_IMAGE, _SERVER, ports={"80/tcp": None}, detach=True
        )
        try:
            address = apart.address(container, 80, wait=True)
            assert address.host == LOOPBACK
            assert _get(*address) == b"near\n"
            assert apart.environment()["TESTCONTAINERS_HOST_OVERRIDE"] == LOOPBACK
        finally:
            container.remove(force=True)


def test_restart(apart: Daemon) -> None:
    """A daemon restarts in its place, and its socket here leads there again."""
    apart.restart()
    with contextlib.closing(apart.client()) as client:
        assert client.images.get(NESTED_IMAGE)


def test_sigkill(project: Project, traces: Traces) -> None:
    """When all users are killed, the daemon goes by its own lease, and its gate with it."""
    project.write(
        """
        import signal

        def test_it(dind_daemon, worker_id):
            assert dind_daemon.client().ping()
            open(f"in-{worker_id}", "w").close()
            signal.pause()
        """
    )
    process = project.start("-n2", "--dist=each", "-W", "default::ResourceWarning")
    project.reached("in-gw0", process)
    project.reached("in-gw1", process)
    assert len(traces.containers()) == 1

    def gates() -> list[str]:
        # Arguments end with NUL in there.
        commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
        return [
            command.decode()
            for command in commands
            if b"forwarder.gate" in command and str(project.temp).encode() in command
        ]

    assert len(gates()) == 1
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    traces.assert_nothing_left(seconds=10)
    until(lambda: not gates(), 10, "the gate ends")


def test_daemon_that_dies(project: Project) -> None:
    """A daemon that dies behind its gate is lost with its exit code and its log."""
    project.write(
        """
        def test_kill(dind_daemon):
            dind_daemon.exec(["sh", "-c", "kill -9 $(pidof dockerd)"])
            while dind_daemon._backend.files(dind_daemon.record).read("exit") is None:
                pass

        def test_after(dind_client):
            pass
        """
    )
    output = project.run(code=1)

    assert "DaemonLost: The daemon 'main' (mode dind) is gone" in output
    assert "Exit code 137" in output


def test_exec_in_mode_socket(project: Project) -> None:
    """In mode socket `exec` says at once what the engine lacks; an image it does not pull."""
    project.write(
        """
        import pytest
        from pytest_dind import ModeUnavailable

        def test_it(dind_daemon):
            with pytest.raises(ModeUnavailable, match="exec can't be had in mode socket") as caught:
                dind_daemon.exec(["true"])
            assert "bind source path does not exist" in caught.value.evidence
        """
    )
    image = ("--dind-image", "nowhere.invalid/missing")
    assert "1 passed" in project.run("--dind-mode=socket", "--dind-mount=", *image)


def test_directory_here_and_network_elsewhere(
    project: Project, other: OtherHost, traces: Traces
) -> None:
    """Where the engine has the directory, an address that is another's here is not given."""
    shared = other.socket.parent / "t"
    shared.mkdir()
    enter = ["nsenter", "-t", str(other.pid), "-m", "sh", "-c"]
    mount = f"mkdir -p {shared} && mount --bind /share/t {shared}"
    subprocess.run([*enter, mount], check=True)
    try:
        project.write(
            f"""
            import http.client

            def test_it(dind_daemon, dind_client, dind_env):
                assert dind_daemon.host.startswith("unix://")
                assert dind_daemon.gateway == ""
                assert dind_env["TESTCONTAINERS_HOST_OVERRIDE"] == "{LOOPBACK}"
                # One that the engine publishes, which it does in its own network, and another.
                ports = {{"80/tcp": 8080, "81/tcp": None}}
                run = dind_client.containers.run
                made = run("{NESTED_IMAGE}", {_SERVER}, ports=ports, detach=True)
                address = dind_daemon.address(made, 80, wait=True)
                assert address.host == "{LOOPBACK}"
                asked = http.client.HTTPConnection(*address, timeout=20)
                asked.request("GET", "/")
                assert asked.getresponse().read() == b"near\\n"
                asked.close()
                assert dind_daemon.address(made, 81).host == "{LOOPBACK}"
            """
        )
        output = project.run(
            *("--dind-mount=", "--dind-publish=8080", "--dind-load", NESTED_IMAGE),
            env={"TMPDIR": str(shared)},
        )
    finally:
        subprocess.run([*enter, f"umount {shared}"], check=True)
        remove_tree(shared)

    assert f"ports through the engine, because {_ELSEWHERE}" in output
