"""Docker compose v2."""

from pathlib import Path

from .conftest import Run, plugin

COMPOSE = """
services:
  web:
    image: ${IMAGE}
    init: true
    command: [sh, -c, "echo composed >/index.html; exec httpd -f -p 80 -h /"]
  client:
    image: ${IMAGE}
    command: [sh, -c, "until wget -qO- http://web/; do sleep 0.1; done"]
    depends_on: [web]
"""


def test_compose(
    run: Run, docker_cli: str, dind_env: dict[str, str], image: str, tmp_path: Path
) -> None:
    """Services come up, reach each other by name, and go down."""
    plugin(docker_cli, "compose", dind_env)
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    compose = (docker_cli, "compose", "--project-directory", str(tmp_path))
    try:
        assert "composed" in run(*compose, "run", "--rm", "client", IMAGE=image)
    finally:
        run(*compose, "down", IMAGE=image)
