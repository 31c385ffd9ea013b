"""Files of the suite in nested containers: a compose project with relative paths, and tmp_path."""

import shutil
import subprocess
from pathlib import Path

import docker
import pytest

PROJECT = Path(__file__).parent / "site"


@pytest.mark.skipif(shutil.which("docker") is None, reason="the docker CLI is missing")
def test_compose_project(dind_env: dict[str, str], image: str) -> None:
    """A compose file's relative paths are the project's own, as on the machine's engine."""

    def compose(*arguments: str) -> str:
        command = ["docker", "compose", *arguments]
        env = dind_env | {"IMAGE": image}
        return subprocess.run(
            command, cwd=PROJECT, env=env, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    try:
        assert "hello from the project" in compose("run", "--rm", "web")
    finally:
        compose("down")


def test_written_back(dind_client: docker.DockerClient, image: str, tmp_path: Path) -> None:
    """What a container writes to tmp_path is there for the test."""
    volumes = {str(tmp_path): {"bind": "/out", "mode": "rw"}}
    script = ["sh", "-c", "echo made >/out/report"]
    dind_client.containers.run(image, script, volumes=volumes, remove=True)
    assert (tmp_path / "report").read_text() == "made\n"
