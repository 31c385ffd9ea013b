"""An image that is built in the daemon, and run there."""

from pathlib import Path

import docker

CONTEXT = Path(__file__).with_name("greeting")


def test_an_image_is_built_in_the_daemon(dind_client: docker.DockerClient, image: str) -> None:
    """The daemon builds a Dockerfile; the image stays there, and goes when the daemon goes."""
    built, _ = dind_client.images.build(
        path=str(CONTEXT), tag="greeting:1", buildargs={"BASE": image}, rm=True
    )
    assert dind_client.containers.run(built, remove=True) == b"hi from the build\n"
