"""Buildx, with the BuildKit that the daemon has."""

from pathlib import Path

from .conftest import Run, plugin


def test_buildx(
    run: Run, docker_cli: str, dind_env: dict[str, str], image: str, tmp_path: Path
) -> None:
    """`docker buildx build` leaves its image in the daemon."""
    plugin(docker_cli, "buildx", dind_env)
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nRUN echo built >/text\n")
    run(docker_cli, "buildx", "build", "--load", "--tag", "by-buildx", str(tmp_path))
    assert run(docker_cli, "run", "--rm", "by-buildx", "cat", "/text") == "built\n"
    run(docker_cli, "image", "rm", "by-buildx")
