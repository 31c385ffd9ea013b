"""An engine on another host, reached by ssh."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import EngineUnavailable
from pytest_dind.engine.engine import Engine

from ..support import until
from . import sshd
from .by_ssh import Ssh
from .other import OtherHost
from .projects import Project
from .traces import Traces

# The other host takes seconds to make: one worker has all that use it.
pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="entering a network namespace takes root"),
    pytest.mark.xdist_group("other"),
]


@pytest.fixture
def ssh(other: OtherHost, room: Path) -> Iterator[Ssh]:
    """An ssh server on the other host."""
    path = room / "ssh"
    path.mkdir(mode=0o700)
    ssh = Ssh(other, path)
    try:
        ssh.configure()
        yield ssh
    finally:
        ssh.end()


@pytest.fixture
def traces(other: OtherHost, room: Path) -> Iterator[Traces]:
    """What a test leaves on the other host, and here; in the end that is nothing."""
    traces = Traces(other.client, room)
    yield traces
    traces.assert_nothing_left()


@pytest.fixture
def project(room: Path, ssh: Ssh, traces: Traces) -> Iterator[Project]:
    """A project whose runs use the other host's engine."""
    options = ("--dind-image", DAEMON_IMAGE, "--dind-mode", "dind", "--dind-host", ssh.url)
    with Project(room, *options) as project:
        project.env = {"PATH": ssh.search_path}
        yield project


def _tunnels(room: Path) -> list[str]:
    """The ssh clients that run with this room's configuration."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(room / "ssh" / "config").encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


def test_session(project: Project, ssh: Ssh, room: Path) -> None:
    """A daemon is started through ssh and reached over TLS; its ports, on the other host."""
    project.write(
        f"""
        import urllib.request

        def test_it(dind_daemon, dind_client):
            server = ["sh", "-c", "echo far >/index.html; exec httpd -f -p 80 -h /"]
            dind_client.containers.run(
                "{NESTED_IMAGE}", server, ports={{"80/tcp": 8080}}, detach=True, name="web"
            )
            host, port = dind_daemon.address("web", 80, wait=True)
            with urllib.request.urlopen(f"http://{{host}}:{{port}}/", timeout=5) as got:
                assert got.read() == b"far\\n"
            assert dind_daemon.exec(["docker", "ps", "-q"]).stdout
        """
    )
    output = project.run(f"--dind-load={NESTED_IMAGE}", "--dind-publish=8080")

    assert f"dind: engine {ssh.url}: over TLS, because its file system is not shared" in output
    assert _tunnels(room) == []


def test_killed_run(project: Project, traces: Traces, room: Path) -> None:
    """After a SIGKILL the daemon goes, and so do the ssh clients that led to its engine."""
    project.write(
        """
        import signal

        def test_it(dind_daemon):
            open("in", "w").close()
            signal.pause()
        """
    )
    process = project.start()
    project.reached("in", process)
    assert _tunnels(room)
    process.kill()
    process.communicate(timeout=20)
    traces.assert_nothing_left(10)
    until(lambda: _tunnels(room) == [], 10, "the ssh clients end")


@pytest.mark.parametrize("wrong", ["key", "host", "socket"])
def test_that_does_not_get_there(ssh: Ssh, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """A key that is refused, a host that isn't known, no socket: ssh's own word, and soon."""
    monkeypatch.setenv("PATH", ssh.search_path)
    url, said = ssh.url, "Permission denied"
    if wrong == "key":
        (ssh.path / sshd.CLIENT).write_text((ssh.path / sshd.HOST).read_text())
    elif wrong == "host":
        (ssh.path / "known").write_text("")
        said = "Host key verification failed"
    else:
        url, said = f"{url}-of-nobody", ""
    began = time.monotonic()
    with contextlib.closing(Engine(url)) as engine, pytest.raises(EngineUnavailable) as caught:
        engine.client.ping()

    assert time.monotonic() - began < 30
    assert f"The Docker engine at {url} cannot be used." in str(caught.value)
    assert said in str(caught.value)
