"""The docker CLI of this machine."""

from .conftest import Run


def test_docker_cli(run: Run, docker_cli: str, image: str) -> None:
    """`docker run` runs a container in the daemon."""
    assert run(docker_cli, "run", "--rm", image, "echo", "hi") == "hi\n"
