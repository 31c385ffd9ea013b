"""Programs other than docker-py: the docker CLI, and whatever else reads `DOCKER_HOST`."""

import subprocess
import sys

import docker

from pytest_dind import Daemon

ASK = "import docker; print(docker.from_env().info()['ID'])"


def test_the_docker_cli_runs_in_the_daemons_container(dind_daemon: Daemon, image: str) -> None:
    """`exec` needs no docker CLI on this machine: it runs the one of the daemon's image."""
    done = dind_daemon.exec(["docker", "run", "--rm", "-i", image, "cat"], stdin="from the test")
    assert done.stdout == "from the test"


def test_a_program_finds_the_daemon_in_its_environment(
    dind_client: docker.DockerClient, dind_env: dict[str, str]
) -> None:
    """With `dind_env` a program talks to the daemon, not to the outer engine."""
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=dind_env, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == dind_client.info()["ID"]
