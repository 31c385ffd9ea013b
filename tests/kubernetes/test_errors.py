"""Clusters that can't be had: what is said of images whose nodes don't get ready."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any
from uuid import uuid4

import docker
import pytest
from docker.errors import NotFound

from conftest import NESTED_IMAGE
from pytest_dind import ImageUnavailable, KubernetesFailed
from pytest_dind.runs.factory import Factory

pytestmark = [pytest.mark.kubernetes, pytest.mark.xdist_group("kubernetes")]

Image = Callable[[str], str]


@pytest.fixture
def image() -> Iterator[Image]:
    """Make images whose label says that they are nodes; each runs a script instead."""
    made: list[str] = []
    client = docker.from_env()

    def image(script: str) -> str:
        text = f"""
            FROM {NESTED_IMAGE}
            LABEL pytest-dind.kubernetes-node=1
            ENTRYPOINT ["sh", "-c", "{script}", "sh"]
        """
        name = f"no-node-{uuid4().hex[:6]}:1"
        client.images.build(fileobj=BytesIO(text.encode()), tag=name, rm=True)
        made.append(name)
        return name

    yield image
    for name in made:
        client.images.remove(name)
    client.close()


def _fails(factory: Factory, **how: Any) -> KubernetesFailed:
    before = len(factory.daemons)
    with pytest.raises(KubernetesFailed) as caught:
        factory.kubernetes(load=[], cache="off", **how)
    # It had a daemon, which is gone.
    (daemon,) = factory.daemons[before:]
    with pytest.raises(NotFound):
        assert daemon.container
    return caught.value


def test_no_node(dind_factory: Factory) -> None:
    """An image that is no node is refused before anything is started."""
    before = len(dind_factory.daemons)
    with pytest.raises(ImageUnavailable, match="is not one of a Kubernetes node"):
        dind_factory.kubernetes(image=NESTED_IMAGE)
    assert len(dind_factory.daemons) == before


def test_component_that_ends(dind_factory: Factory, image: Image) -> None:
    """Of a node that ends the error has the log, and the cause that this tells of."""
    name = image("echo kubelet: inotify_init: too many open files; exit 1")
    error = _fails(dind_factory, image=name)
    assert error.what.endswith("does not get ready: its node 'server' has ended.")
    assert "Cause: The limit of inotify is reached on the engine's machine" in error.evidence
    assert "exit code 1" in error.evidence
    assert "kubelet: inotify_init" in error.evidence
    assert "fs.inotify.max_user_instances" in error.remedy[0]


def test_agent_that_ends(dind_factory: Factory, image: Image) -> None:
    """Another node is not waited for when one has ended."""
    name = image("[ $1 = server ] && exec sleep 600; echo $NODE_INDEX ends; exit 7")
    error = _fails(dind_factory, image=name, nodes=2)
    assert error.what.endswith("its node 'agent1' has ended.")
    assert "exit code 7" in error.evidence
    assert "1 ends" in error.evidence


def test_late(dind_factory: Factory, image: Image) -> None:
    """What does not come about in time is told, with what each node has written."""
    error = _fails(dind_factory, image=image("echo I am a $1; exec sleep 600"), nodes=2, timeout=5)
    assert error.what.endswith("is not ready after 5 s.")
    assert "It lacks: its API does not listen" in error.evidence
    assert "Last log lines of agent1:\nI am a agent" in error.evidence
    assert "--dind-timeout=10" in error.remedy[-1]
