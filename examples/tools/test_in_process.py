"""Tools in the suite's own process: the fixture dind_activated, and `activated()` for a while.

testcontainers is in test_testcontainers.py.
"""

import asyncio
import os

import docker
import pytest

from pytest_dind import Daemon

from .conftest import package


def test_for_a_while(dind_daemon: Daemon, image: str) -> None:
    """Within the context `docker.from_env()` leads to the daemon; after it all is as before."""
    before = dict(os.environ)
    with dind_daemon.activated():
        client = docker.from_env()
        assert client.containers.run(image, ["echo", "hi"], remove=True) == b"hi\n"
        client.close()
    assert dict(os.environ) == before


@pytest.mark.usefixtures("dind_activated")
def test_python_on_whales(image: str, docker_cli: str) -> None:
    """python-on-whales runs the docker CLI, which inherits the environment."""
    package("python_on_whales")
    from python_on_whales import DockerClient

    assert DockerClient().run(image, ["echo", "hi"], remove=True) == "hi"


@pytest.mark.usefixtures("dind_activated")
def test_aiodocker(dind_daemon: Daemon) -> None:
    """Its client finds the daemon."""
    package("aiodocker")
    import aiodocker

    async def version() -> str:
        async with aiodocker.Docker() as client:
            return str((await client.version())["Version"])

    assert asyncio.run(version()) == dind_daemon.version
