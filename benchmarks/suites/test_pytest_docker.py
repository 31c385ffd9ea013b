"""pytest-docker: a service of a compose file."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from .conftest import Stopwatch, answers, poll

_PORT = 2375


def _is_best(request: pytest.FixtureRequest) -> bool:
    return any("best" in item.name for item in request.session.items)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the compose file is, and a unix socket."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def docker_compose_file(request: pytest.FixtureRequest, home: Path, image: str) -> str:
    """The service: on a port, or on a unix socket in a volume."""
    service: dict[str, Any] = {"image": image, "privileged": True}
    if _is_best(request):
        service["command"] = "dockerd --host=unix:///run/benchmark/s"
        service["volumes"] = [f"{home}:/run/benchmark"]
    else:
        service["command"] = f"dockerd --host=tcp://0.0.0.0:{_PORT} --tls=false"
        service["ports"] = [str(_PORT)]
    path = home / "docker-compose.yml"
    # JSON is YAML.
    path.write_text(json.dumps({"version": "2", "services": {"dind": service}}))
    return str(path)


def _has_plugin() -> bool:
    """Whether docker has compose as a plugin, version 2."""
    return subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0


@pytest.fixture(scope="session")
def docker_compose_command() -> str:
    """Version 2, or the one that its documentation gives for compatibility."""
    return "docker compose" if _has_plugin() else str(shutil.which("docker-compose"))


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    """Version 1 knows no `--wait`."""
    return ["up --build --wait"] if _has_plugin() else ["up --build -d"]


@pytest.fixture(scope="session")
def docker_cleanup(request: pytest.FixtureRequest) -> list[str]:
    """Its default, or without the seconds of a polite stop."""
    return ["down -v -t 0"] if _is_best(request) else ["down -v"]


@pytest.fixture(scope="session")
def defaults(docker_ip: str, docker_services: Any) -> Iterator[docker.DockerClient]:
    """Time-out and pause are those of its documentation."""
    where = f"{docker_ip}:{docker_services.port_for('dind', _PORT)}"
    client = docker.DockerClient(base_url=f"tcp://{where}", version="1.41")
    docker_services.wait_until_responsive(lambda: answers(client), timeout=30.0, pause=0.1)
    yield client
    client.close()


@pytest.fixture(scope="session")
def best(home: Path, docker_services: Any) -> Iterator[docker.DockerClient]:
    """A pause of 10 ms."""
    client = docker.DockerClient(base_url=f"unix://{home}/s", version="1.41")
    poll(lambda: answers(client), seconds=30, pause=0.01)
    yield client
    client.close()


@pytest.mark.parametrize("fixture", ["defaults", "best"])
def test_start(stopwatch: Stopwatch, fixture: str) -> None:
    """From the request for the fixture on."""
    stopwatch.start(fixture)
