"""Nodes that come and go, in clusters of a test's own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest

from conftest import NESTED_IMAGE
from pytest_dind import (
    Kubernetes,
    KubernetesFailed,
)
from pytest_dind.runs.factory import Factory

from ..support import until
from .conftest import deployment

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.xdist_group("kubernetes"),
    pytest.mark.long,
]


@pytest.fixture
def cluster(dind_factory: Factory) -> Iterator[Kubernetes]:
    """A cluster of one node, where others may be killed."""
    made = dind_factory.kubernetes(failover="fast", load=[NESTED_IMAGE])
    yield made
    made.stop()


def _where(cluster: Kubernetes) -> set[str]:
    done = cluster.exec(["kubectl", "get", "pods", "--output=json"])
    return {
        one["spec"]["nodeName"]
        for one in json.loads(done.stdout)["items"]
        if "deletionTimestamp" not in one["metadata"]
    }


def test_node_comes_and_goes(cluster: Kubernetes) -> None:
    """A node that joins is Ready and has the images; its pods start elsewhere when it is killed."""
    node = cluster.add_node()
    assert (node.name, node.role) == ("agent1", "agent")
    apply = ["kubectl", "apply", "-f", "-"]
    prefers = {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "preference": {
                        "matchExpressions": [
                            {
                                "key": "kubernetes.io/hostname",
                                "operator": "In",
                                "values": ["agent1"],
                            }
                        ]
                    },
                }
            ]
        }
    }
    web = deployment("web", affinity=prefers, policy="Never")
    cluster.exec(apply, stdin=json.dumps(web))
    cluster.wait_for("deployment/web")
    assert _where(cluster) == {"agent1"}
    cluster.kill(node)
    assert [one.name for one in cluster.nodes] == ["server"]
    with pytest.raises(KubernetesFailed, match=r"The node 'agent1' of the cluster .* does not run"):
        node.exec(["true"])
    until(lambda: _where(cluster) == {"server"}, 30, "the pod starts on the server")
    cluster.wait_for("deployment/web")
    # The next one has another name: the cluster remembers the one that was killed.
    assert cluster.add_node().name == "agent2"


def test_server_is_killed(cluster: Kubernetes) -> None:
    """Without its server a cluster is none, and says so."""
    cluster.kill(cluster.nodes[0])
    with pytest.raises(KubernetesFailed, match="has no server any more"):
        cluster.wait_for("web")
    with pytest.raises(KubernetesFailed, match="has no server any more"):
        cluster.exec(["true"])


def test_server_that_ended(cluster: Kubernetes) -> None:
    """A server that ended by itself is told with its log."""
    cluster.nodes[0].exec(["sh", "-c", "kill $(pidof containerd)"])
    container = cluster.nodes[0].id
    with contextlib.closing(cluster.daemon.client()) as client:
        until(lambda: not client.containers.list(filters={"id": container}), 20, "the server ends")
    with pytest.raises(KubernetesFailed, match=r"The node 'server' .* does not run") as caught:
        cluster.wait_for("web")
    assert "exit code 1" in caught.value.evidence
    assert "containerd" in caught.value.evidence
