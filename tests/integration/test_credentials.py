"""The user's credentials, with a real registry that asks for them."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import docker.errors
import pytest

from conftest import NESTED_IMAGE
from pytest_dind import Daemon

from .conftest import buildx_in
from .registries import registry

# The outer engine, in mode socket, does not reach what its client container serves on loopback.
pytestmark = pytest.mark.requires_isolation

# Loopback, for which no daemon asks for TLS.
_HOST = "127.0.0.1:5000"
_IMAGE = f"{_HOST}/mine"
_SECRET = base64.b64encode(b"me:pa55").decode()
# The password "pa55", by bcrypt.
_HTPASSWD = "me:$2b$05$6YFapuhZD4n1xSPqpY5YAufSb5ycT1z9M9l0CMBvmqTkEHM0F8vtm"
_HELPER = """#!/bin/sh
[ "$1" = get ] && echo '{"Username": "me", "Secret": "pa55"}'
"""
_AUTHS = {"auths": {_HOST: {"auth": _SECRET}}}
_CONFIGS = {"config": _AUTHS, "helper": {"credHelpers": {_HOST: "mine"}}, "variable": {}}
# What a daemon's container has of credentials, on disk or in memory.
_SEARCH = """
ls -d /dev/shm/* /run/pytest-dind-exec* 2>/dev/null
# Not the files of the suite, which are mounted.
find /root /etc /run /run/pytest-dind /tmp /var/tmp /dev/shm -xdev -type f \
    -exec grep -lF "$0" {} + 2>/dev/null
true
"""


@pytest.fixture(scope="module")
def locked(dind_daemon: Daemon) -> Iterator[Daemon]:
    """A daemon with a registry that lets nobody in without a password; it has the image."""
    auth = {"htpasswd": {"realm": "r", "path": "htpasswd"}}
    with (
        registry(dind_daemon, 5000, files={"htpasswd": _HTPASSWD}, auth=auth),
        closing(dind_daemon.client()) as client,
    ):
        client.images.get(NESTED_IMAGE).tag(_IMAGE)
        login = {"username": "me", "password": "pa55"}
        for line in client.images.push(_IMAGE, auth_config=login, stream=True, decode=True):
            assert "error" not in line
        client.images.remove(_IMAGE)
        yield dind_daemon


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker config of the test's own, without credentials, and a helper that it may name."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_AUTH_CONFIG", raising=False)
    helper = tmp_path / "docker-credential-mine"
    helper.write_text(_HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "config.json"


@pytest.fixture(params=_CONFIGS)
def login(config: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The user's credentials, in each place where they may be; gives the place."""
    place = str(request.param)
    config.write_text(json.dumps(_CONFIGS[place]))
    if place == "variable":
        monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps(_AUTHS))
    return place


@pytest.fixture(autouse=True)
def pulled_by_the_test(locked: Daemon) -> Iterator[None]:
    """Whatever a test pulls is gone after it, and no credentials stay in the container."""
    yield
    with closing(locked.client()) as client:
        for name in ("built", _IMAGE):
            if client.images.list(name):
                client.images.remove(name, force=True)
    assert locked.exec(["sh", "-c", _SEARCH, _SECRET]).stdout == ""


def test_without_credentials(locked: Daemon, config: Path) -> None:
    """The registry of these tests lets nobody in who has none."""
    done = locked.exec(["docker", "pull", _IMAGE], check=False)

    assert "no basic auth credentials" in done.stderr
    with closing(locked.client()) as client, pytest.raises(docker.errors.APIError):
        client.images.pull(_IMAGE, tag="latest")


def test_client(locked: Daemon, login: str) -> None:
    """A client of the daemon pulls."""
    with closing(locked.client()) as client:
        assert client.images.pull(_IMAGE, tag="latest").tags


@pytest.mark.parametrize("timeout", [None, 30])
def test_exec(locked: Daemon, login: str, timeout: float | None) -> None:
    """The docker CLI in the daemon's container pulls, for as long as it runs."""
    assert _IMAGE in locked.exec(["docker", "pull", _IMAGE], timeout=timeout).stdout


def test_exec_beside_a_config(locked: Daemon, login: str) -> None:
    """A container that has a docker config of its own keeps it, and has the credentials too."""
    script = 'mkdir -p ~/.docker && echo "{}" >~/.docker/config.json'
    locked.exec(["sh", "-c", script])
    try:
        locked.exec(["docker", "pull", _IMAGE])
        assert locked.exec(["sh", "-c", "cat ~/.docker/config.json"]).stdout == "{}\n"
    finally:
        locked.exec(["sh", "-c", "rm -r ~/.docker"])


def test_exec_that_is_killed(locked: Daemon, config: Path, dind_clean: Daemon) -> None:
    """A command that is killed leaves no credentials in its container."""
    config.write_text(json.dumps(_AUTHS))
    command = ["docker", "run", "--rm", "--network=none", NESTED_IMAGE, "sleep", "60"]
    with pytest.raises(subprocess.TimeoutExpired):
        locked.exec(command, timeout=1)


def test_build(locked: Daemon, login: str, tmp_path: Path) -> None:
    """A build has the image that FROM names."""
    (tmp_path / "Dockerfile").write_text(f"FROM {_IMAGE}\nRUN true\n")

    assert locked.build(tmp_path, "built")


def test_build_in_the_container(
    locked: Daemon, config: Path, buildx: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A build by the buildx of the daemon's image has it too, and leaves no credentials there."""
    config.write_text(json.dumps(_AUTHS))
    monkeypatch.setenv("PATH", str(config.parent))
    (tmp_path / "Dockerfile").write_text(f"FROM {_IMAGE}\nRUN true\n")
    with buildx_in(locked, buildx):
        assert locked.build(tmp_path, "built")


def test_cli_of_this_machine(locked: Daemon, config: Path) -> None:
    """The docker CLI with the daemon's environment pulls."""
    config.write_text(json.dumps(_AUTHS))
    cli = shutil.which("docker")
    assert cli is not None, "docker is missing: python tools/engine.py programs"
    subprocess.run([cli, "pull", _IMAGE], env=locked.environment(), check=True, capture_output=True)
