"""An engine elsewhere that copies no files of containers that run, as with Sysbox."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from conftest import NESTED_IMAGE
from pytest_dind.engine.engine import Engine

from .far import far_engine
from .projects import Project

# In mode socket the engine's own files are on its machine.
pytestmark = pytest.mark.requires_isolation


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
