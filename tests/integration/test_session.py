"""The main job: a test asks for a daemon and has one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import docker
import pytest

from conftest import NESTED_IMAGE
from pytest_dind import Daemon, Settings
from pytest_dind.engine.engine import Engine

from .projects import Project
from .traces import Traces

# All that a user has must work with either version.
pytestmark = pytest.mark.cgroups

_DATA_ROOT = "/var/lib/docker"
_EXAMPLE = f"""
    def test_nested(dind_client):
        out = dind_client.containers.run("{NESTED_IMAGE}", "echo hi", remove=True)
        assert out == b"hi\\n"
"""


@pytest.mark.engines
def test_the_example(project: Project, traces: Traces) -> None:
    """The README's first test passes with two options, and nothing is left of its run."""
    project.write(_EXAMPLE)
    output = project.run("--dind-load", NESTED_IMAGE)

    assert "1 passed" in output
    assert "dind: daemon 'main' ready in " in output
    traces.assert_nothing_left(seconds=1)


def test_all_fixtures_are_of_one_daemon(
    dind_client: docker.DockerClient,
    dind_daemon: Daemon,
    dind_env: dict[str, str],
    dind_mode: str,
    dind_config: Settings,
    mode: str,
) -> None:
    """The fixtures agree: one daemon, the mode asked for, the settings overridden."""
    assert dind_mode == dind_daemon.mode == dind_config.mode == mode
    assert dind_client.info()["ServerVersion"] == dind_daemon.version
    assert dind_env["DOCKER_HOST"] == dind_daemon.host == dind_daemon.env["DOCKER_HOST"]


@pytest.mark.requires_isolation
def test_daemon_is_another_one(dind_client: docker.DockerClient, engine: Engine) -> None:
    """The daemon is not the outer engine: another id, other containers, other images."""
    assert dind_client.info()["ID"] != engine.client.info()["ID"]
    tags = [tag for image in dind_client.images.list() for tag in image.tags]
    assert tags == [NESTED_IMAGE]


@pytest.mark.requires_isolation
def test_container_of_the_daemon(dind_daemon: Daemon, engine: Engine) -> None:
    """The handle has the daemon's container, named and labelled as the contract has it."""
    container = dind_daemon.container
    assert container is not None
    run = container.labels["pytest-dind.run"]

    assert container.id == dind_daemon.id
    assert container.name == f"pytest-dind-{run}-{dind_daemon.name}"
    assert container.labels["pytest-dind.role"] == "daemon"
    assert container.labels["pytest-dind.owner"].count(",") == 1
    assert int(container.labels["pytest-dind.created"]) > 0
    (root,) = [m["Name"] for m in container.attrs["Mounts"] if m["Destination"] == _DATA_ROOT]
    assert engine.client.volumes.get(root).attrs["Labels"]["pytest-dind.run"] == run


@pytest.mark.engines
def test_command_line_client(dind_env: dict[str, str], dind_daemon: Daemon) -> None:
    """With `dind_env` the docker CLI of the machine talks to the daemon."""
    command = ["docker", "run", "--rm", NESTED_IMAGE, "echo", "hi"]
    done = subprocess.run(command, env=dind_env, capture_output=True, text=True, check=True)
    asked = ["docker", "version", "--format", "{{.Server.Version}}"]
    version = subprocess.run(asked, env=dind_env, capture_output=True, text=True, check=True)

    assert done.stdout == "hi\n"
    assert version.stdout.strip() == dind_daemon.version


def test_inherited_variables(project: Project, engine: Engine) -> None:
    """Variables that point docker elsewhere reach neither the daemon nor tools run with its env."""
    project.write(
        """
        import os, subprocess

        def test_it(dind_daemon, dind_client, dind_env):
            assert os.environ["DOCKER_API_VERSION"] == "1.99"
            assert {k for k in dind_env if k.startswith("DOCKER_")} == {"DOCKER_HOST"}
            assert dind_env["PATH"] == os.environ["PATH"]
            asked = ["docker", "version", "--format", "{{.Server.Version}}"]
            out = subprocess.run(asked, env=dind_env, capture_output=True, text=True, check=True)
            assert out.stdout.strip() == dind_daemon.version
            assert dind_client.ping()
        """
    )
    project.run(
        f"--dind-host={engine.url}",
        env={
            "DOCKER_HOST": "tcp://127.0.0.1:1",
            "DOCKER_API_VERSION": "1.99",
            "DOCKER_CONTEXT": "nowhere",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": "/nonexistent",
        },
    )


def test_client_of_ones_own(dind_daemon: Daemon) -> None:
    """`client()` gives a new client each time, with the time-out asked for."""
    first, second = dind_daemon.client(timeout=7), dind_daemon.client()
    try:
        assert first.api.timeout == 7
        assert first.ping()
        first.close()
        assert second.ping()
    finally:
        first.close()
        second.close()


@pytest.mark.requires_isolation
def test_logs(dind_daemon: Daemon) -> None:
    """The daemon's own log is at hand, whole or its end."""
    assert "API listen on /run/pytest-dind/docker.sock" in dind_daemon.logs()
    assert dind_daemon.logs(tail=1).count("\n") == 1
    assert dind_daemon.logs().endswith(dind_daemon.logs(tail=1))


@pytest.mark.requires_isolation
def test_stop(project: Project) -> None:
    """A daemon that a test stops is gone at once, and stopping it again is fine."""
    project.write(
        """
        from docker.errors import NotFound
        import pytest

        def test_it(dind_daemon):
            container = dind_daemon.container
            dind_daemon.stop()
            with pytest.raises(NotFound):
                container.reload()
            dind_daemon.stop()
        """
    )
    project.run()


def test_build(dind_client: docker.DockerClient, tmp_path: Path) -> None:
    """An image is built in the daemon, from one that was loaded, and runs there."""
    text = f"FROM {NESTED_IMAGE}\nRUN echo built >/made\nCMD cat /made\n"
    (tmp_path / "Dockerfile").write_text(text)
    dind_client.images.build(path=str(tmp_path), rm=True, tag="built:test")
    try:
        assert dind_client.containers.run("built:test", remove=True) == b"built\n"
    finally:
        dind_client.images.remove("built:test", force=True)


def test_two_runs_in_one_process(project: Project, traces: Traces) -> None:
    """`pytest.main` twice in a process: each has a daemon of its own, and ends it."""
    project.write(
        """
        def test_it(dind_daemon):
            with open("ids", "a") as file:
                print(dind_daemon.id, file=file)
        """
    )
    project.write(
        """
        import pytest, sys
        options = sys.argv[sys.argv.index("pytest") + 1:]
        sys.exit(pytest.main(options) or pytest.main(options))
        """,
        "twice.py",
    )
    project.run(before=["env", f"PYTHONPATH={project.path}"])
    project.run(
        before=["sh", "-c", 'python=$1; shift 3; exec "$python" twice.py pytest "$@"', "sh"]
    )
    ids = (project.path / "ids").read_text().split()

    assert len(ids) == len(set(ids)) == 3
    traces.assert_nothing_left(seconds=1)


@pytest.mark.requires_isolation
def test_override(project: Project) -> None:
    """A project's `dind_config` decides over the daemon, against the command line."""
    project.write(
        f"""
        import pytest

        @pytest.fixture(scope="session")
        def dind_config(dind_config):
            return dind_config.replace(load=["{NESTED_IMAGE}"], arg=["--label=mine=1"])
        """,
        "conftest.py",
    )
    project.write(_EXAMPLE)
    project.write(
        "def test_it(dind_client): assert 'mine=1' in dind_client.info()['Labels']", "test_b.py"
    )
    project.run()


@pytest.mark.requires_isolation
@pytest.mark.parametrize("load", [[NESTED_IMAGE], []])
def test_load(project: Project, load: list[str]) -> None:
    """The daemon has the images that it was told to load, and no others."""
    project.write(
        f"""
        def test_it(dind_client):
            assert [tag for i in dind_client.images.list() for tag in i.tags] == {load!r}
        """
    )
    project.run(*(f"--dind-load={name}" for name in load))
