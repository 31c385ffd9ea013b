"""An image that is built in the daemon, and run there."""

from pathlib import Path

import docker

from pytest_dind import Daemon

CONTEXT = Path(__file__).with_name("greeting")


def test_an_image_is_built_in_the_daemon(dind_client: docker.DockerClient, image: str) -> None:
    """The daemon builds a Dockerfile; the image stays there, and goes when the daemon goes."""
    built, _ = dind_client.images.build(
        path=str(CONTEXT), tag="greeting:1", buildargs={"BASE": image}, rm=True
    )
    assert dind_client.containers.run(built, remove=True) == b"hi from the build\n"


def test_buildkit_has_cache_mounts(
    dind_daemon: Daemon, dind_client: docker.DockerClient, image: str, tmp_path: Path
) -> None:
    """`build()` builds by BuildKit: a cache that stays between builds, and steps in a heredoc."""
    (tmp_path / "Dockerfile").write_text(
        f"FROM {image}\n"
        "RUN --mount=type=cache,target=/cache <<EOF\n"
        "echo fetched >>/cache/log\n"
        "cp /cache/log /log\n"
        "EOF\n"
        'CMD ["cat", "/log"]\n'
    )
    built = dind_daemon.build(tmp_path, "cached:1")
    assert dind_client.containers.run(built, remove=True).startswith(b"fetched\n")
