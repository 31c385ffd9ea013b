"""An engine elsewhere that copies no files of containers that run, as with Sysbox.

Sysbox is nowhere but on this machine's engine, which stands for one elsewhere here; another host
that has none is in `test_remote` and `test_ssh`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trustme

from conftest import NESTED_IMAGE
from pytest_dind.engine.engine import Engine

from .by_ssh import Ssh
from .far import far_engine
from .projects import Project
from .traces import Traces

# In mode socket the engine's own files are on its machine.
pytestmark = [pytest.mark.requires_isolation, pytest.mark.sysbox_too]


def test_all_that_takes_files(project: Project, engine: Engine, tmp_path: Path) -> None:
    """Certificates, images, logs, a restart, copies, a daemon that is kept: all by commands."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    project.write(
        f"""
        import pathlib

        def test_it(dind_daemon, dind_client, tmp_path):
            here = pathlib.Path(__file__)
            assert dind_daemon.host.startswith("tcp://")
            run = dind_client.containers.run
            assert run("{NESTED_IMAGE}", ["echo", "hi"], remove=True) == b"hi\\n"
            assert "API listen on" in dind_daemon.logs()
            assert dind_daemon.exit_code() is None
            found = dind_daemon.exec(["sh", "-c", "cat /etc/pytest-dind/certificates/*.crt"])
            assert "BEGIN CERTIFICATE" in found.stdout
            assert dind_daemon.exec(["cat", "/there/test_it.py"]).stdout == here.read_text()
            (tmp_path / "one").write_text("1")
            dind_daemon.copy_to(tmp_path / "one", "/two")
            assert dind_daemon.copy_from("/two", tmp_path / "two").read_text() == "1"
            dind_daemon.restart()
            assert run("{NESTED_IMAGE}", ["echo", "hi"], remove=True) == b"hi\\n"

        def test_end(dind_factory):
            daemon = dind_factory("ends")
            daemon.exec(["sh", "-c", "kill -KILL $(cat /var/run/docker.pid)"])
            while daemon.exit_code() is None:
                pass
            assert daemon.exit_code() == 137
            assert "API listen on" in daemon.logs()
        """
    )
    with far_engine(engine) as far:
        project.run(
            *(f"--dind-host={far.url}", f"--dind-load={NESTED_IMAGE}"),
            *(f"--dind-ca={tmp_path}/ca.pem", "--dind-mount=copy:.:/there"),
            seconds=120,
        )
    assert far.refused == []


class _Here:
    """This machine, as the ssh server leads to it."""

    address = "127.0.0.1"
    pid = os.getpid()

    def __init__(self, engine: Engine) -> None:
        self.socket = Path(engine.url.removeprefix("unix://"))


@pytest.mark.skipif(os.getuid() != 0, reason="entering a network namespace takes root")
def test_by_ssh(project: Project, engine: Engine, traces: Traces, room: Path) -> None:
    """By ssh a daemon starts, and is gone after a SIGKILL."""
    project.write(
        f"""
        import signal

        def test_it(dind_daemon, dind_client):
            run = dind_client.containers.run
            assert run("{NESTED_IMAGE}", ["echo", "hi"], remove=True) == b"hi\\n"
            assert dind_daemon.exec(["docker", "ps", "-q"]).stdout == ""
            open("in", "w").close()
            signal.pause()
        """
    )
    (room / "ssh").mkdir(mode=0o700)
    ssh = Ssh(_Here(engine), room / "ssh")
    try:
        ssh.configure()
        options = (f"--dind-host={ssh.url}", f"--dind-load={NESTED_IMAGE}")
        process = project.start(*options, env={"PATH": ssh.search_path})
        project.reached("in", process)
        process.kill()
        process.communicate(timeout=20)
        traces.assert_nothing_left(10)
    finally:
        ssh.end()


def test_daemon_that_cannot_start(project: Project, engine: Engine) -> None:
    """One that ends is told with its exit code and its last words."""
    project.write("def test_it(dind_client): pass")
    with far_engine(engine) as far:
        output = project.run(f"--dind-host={far.url}", "--dind-arg=--no-such-flag", code=1)

    assert "ended with exit code 1 before it was ready" in output
    assert "unknown flag: --no-such-flag" in output
    assert far.refused == []
