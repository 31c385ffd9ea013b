"""The images that nodes begin with: made once, in the warm store, and linked to by each node."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import Kubernetes
from pytest_dind.engine.engine import Engine
from pytest_dind.kubernetes import images
from pytest_dind.runs.factory import Factory
from pytest_dind.store import seeding
from pytest_dind.store.contents import Cache

from ..integration.projects import Project
from ..integration.traces import Traces
from ..store import look
from ..support import until
from .conftest import NODE_IMAGE, pod

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.requires_isolation,
    pytest.mark.xdist_group("kubernetes"),
    pytest.mark.long,
]

_LAYERS = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"


@pytest.fixture(scope="module", autouse=True)
def store(engine: Engine) -> Iterator[str]:
    """A store of these tests' own, which they damage and prune."""
    name = f"pytest-dind-test-{uuid4().hex[:8]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeding, "VOLUME", name)
        yield name
    with contextlib.suppress(Exception):
        engine.client.volumes.get(name).remove()


@pytest.fixture(scope="module")
def image(engine: Engine) -> Iterator[str]:
    """An image that only these tests have."""
    name = f"pytest-dind/kubernetes-images:{uuid4().hex[:8]}"
    container = engine.client.containers.create(NESTED_IMAGE, ["sh", "-c", "echo mine >/file"])
    container.start()
    container.wait()
    container.commit(*name.split(":"))
    container.remove(v=True)
    yield name
    engine.client.images.remove(name, force=True)


Begin = Callable[..., Kubernetes]


@pytest.fixture
def begin(dind_factory: Factory, image: str) -> Iterator[Begin]:
    """Start clusters whose nodes have the image; in the end they are stopped."""
    with contextlib.ExitStack() as ends:

        def begin(nodes: int = 1, **settings: Any) -> Kubernetes:
            cluster = dind_factory.kubernetes(nodes, load=[image], **settings)
            ends.callback(cluster.stop)
            return cluster

        yield begin


@pytest.fixture
def never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nodes get no image by import."""

    def send(*arguments: object) -> None:
        raise AssertionError("an image is imported")

    monkeypatch.setattr(images, "_send", send)


def _linked(cluster: Kubernetes) -> list[int]:
    """How many layers each node has by a link."""
    find = ["find", _LAYERS, "-maxdepth", "2", "-name", "fs", "-type", "l"]
    return [len(node.exec(find).stdout.splitlines()) for node in cluster.nodes]


def _reads(cluster: Kubernetes, image: str, name: str = "web", **spec: Any) -> str:
    """What a pod of the image reads from the file in it, which it changes then."""
    script = "cat /file", "echo changed >/file", "sleep 600"
    text = json.dumps(pod(name, *script, image=image, policy="Never", **spec))
    cluster.exec(["kubectl", "apply", "-f", "-"], stdin=text)
    cluster.wait_for(name)
    until(lambda: cluster.logs(name), 10, "the pod has read it")
    return cluster.logs(name).strip()


def test_clusters_at_once(begin: Begin, image: str, engine: Engine, never_sent: None) -> None:
    """Clusters side by side have the image without an import, and what they change is theirs."""
    begin().stop()
    roots, _ = Cache(engine, DAEMON_IMAGE).roots()
    assert {NODE_IMAGE, image} == set(roots[0].images)
    before = look(engine, "find layers blobs -type f -exec sha256sum {} + | sort | sha256sum")
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(begin, (2, 1))
    # Two layers of the image, and the one of the pause image.
    assert _linked(one) + _linked(other) == [3, 3, 3]
    for name in ("first", "second"):
        assert [_reads(cluster, image, name) for cluster in (one, other)] == ["mine", "mine"]
    # A node that joins later begins as the others did, and nothing is sent twice.
    one.add_node()
    assert _linked(one) == [3, 3, 3]
    one.load(image)
    after = look(engine, "find layers blobs -type f -exec sha256sum {} + | sort | sha256sum")
    assert after == before


def test_node_that_is_started_again(begin: Begin, image: str, never_sent: None) -> None:
    """After SIGKILL a node has what it had, and it works."""
    cluster = begin(2)
    _, agent = cluster.nodes
    linked = _linked(cluster)
    assert _reads(cluster, image, nodeName=agent.name) == "mine"
    with contextlib.closing(cluster.daemon.client()) as client:
        container = client.containers.get(agent.id)
        container.kill()
        container.start()
    names = ["ctr", "--namespace", "k8s.io", "images", "list", "--quiet"]

    def listed() -> str:
        return agent.exec(names, check=False).stdout

    assert f"docker.io/{image}" in until(listed, 30, "containerd serves").split()
    assert _linked(cluster) == linked
    assert _reads(cluster, image, "again", nodeName=agent.name) == "mine"


def test_eviction(begin: Begin, image: str, engine: Engine) -> None:
    """What a cluster's nodes link to stays for as long as the cluster does."""
    cluster = begin()
    cache = Cache(engine, DAEMON_IMAGE)
    (root,) = (one for one in cache.roots()[0] if one.held)
    assert cache.remove([root.key]).held == (root.key,)
    cache.prune("1k")
    assert [one.key for one in cache.roots()[0]] == [root.key]
    assert _reads(cluster, image) == "mine"
    cluster.stop()
    assert cache.prune("1k").gone == (root.key,)
    assert look(engine, "ls -A layers blobs making old | grep -v : || true").split() == []


def test_damage(begin: Begin, image: str, engine: Engine) -> None:
    """A layer that is lost is noticed, and all is made anew."""
    begin().stop()
    lost = look(
        engine,
        f"cd golden/*/root/containerd/kubernetes/{_LAYERS.partition('containerd/')[2]}; "
        'for layer in */fs; do lost=$(basename "$(readlink "$layer")"); done; '
        'rm -rf "/store/layers/$lost"; echo "$lost"',
    )
    cluster = begin()
    assert _reads(cluster, image) == "mine"
    assert lost.strip() not in look(engine, "ls layers").split()


def test_without_the_store(begin: Begin, image: str) -> None:
    """Without a store each node imports its images."""
    cluster = begin(cache="off")
    assert _linked(cluster) == [0]
    assert _reads(cluster, image) == "mine"


def test_killed_while_it_is_made(
    room: Path, traces: Traces, store: str, image: str, engine: Engine, begin: Begin
) -> None:
    """After SIGKILL in the midst of the import nothing is left, and the next cluster makes it."""
    options = ("--dind-image", DAEMON_IMAGE, "--dind-mode", "dind", "--dind-cache", "refresh")
    with Project(room, *options, "--dind-kubernetes-image", NODE_IMAGE) as project:
        project.write(
            f"""
            import os
            from pytest_dind.engine import containers
            from pytest_dind.store import seeding

            seeding.VOLUME = "{store}"
            feed = containers.feed

            def feed_and_die(api, name, chunks):
                def some():
                    yield next(chunks)
                    os.kill(os.getpid(), 9)
                return feed(api, name, some())

            containers.feed = feed_and_die

            def test_it(dind_factory):
                dind_factory.kubernetes(load=["{image}"])
            """
        )
        project.run(code=-signal.SIGKILL)
    traces.assert_nothing_left(seconds=5)
    cluster = begin()
    assert _reads(cluster, image) == "mine"
    Cache(engine, DAEMON_IMAGE).prune("10g")
    assert look(engine, "ls -A making old | grep -v : || true").split() == []
