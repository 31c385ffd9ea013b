"""What a cluster lacks to be ready."""

from __future__ import annotations

from typing import Any, cast

from pytest_dind.kubernetes import readiness
from pytest_dind.kubernetes.api import Api, Refused
from pytest_dind.kubernetes.readiness import Readiness


def _node(name: str, status: str = "True", *, taint: str = "", effect: str = "NoSchedule") -> Any:
    taints = [{"key": taint, "effect": effect}] if taint else []
    condition = {"type": "Ready", "status": status, "message": "no network"}
    return {
        "metadata": {"name": name},
        "spec": {"taints": taints},
        "status": {"conditions": [condition]},
    }


def test_nodes() -> None:
    """Each node is there, says that it is Ready, and takes pods."""
    server, agent = _node("server"), _node("agent1")

    def lacks(*nodes: Any) -> str:
        return readiness.without_node(nodes, ["server", "agent1"])

    assert not lacks(server, agent)
    assert lacks(server) == "the node agent1 has not registered"
    late = _node("agent1", "False")
    assert lacks(server, late) == "the node agent1 is not Ready: no network"
    late["status"] = {}
    assert lacks(server, late) == "the node agent1 is not Ready: it has not said so"
    assert lacks(_node("server", taint="x"), agent) == "the node server takes no pods: x"
    assert not lacks(_node("server", taint="x", effect="PreferNoSchedule"), agent)


def _unscheduled(message: str) -> Any:
    return {"status": {"conditions": [{"type": "PodScheduled", "message": message}]}}


def test_scheduler() -> None:
    """The scheduler has looked at a pod, and knows as many nodes as there are."""
    assert readiness.unknown_to_scheduler({}, 2) == "the scheduler has not looked at a pod"
    found = _unscheduled("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity.")
    assert readiness.unknown_to_scheduler(found, 2) == "the scheduler knows 1 of 2 nodes"
    assert not readiness.unknown_to_scheduler(found, 1)
    assert not readiness.unknown_to_scheduler(_unscheduled("in words of another release"), 9)


class _Cluster:
    """A cluster of one node, of which what is asked for comes up bit by bit."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {
            readiness.NODES: {"items": [_node("server")]},
            readiness._ENDPOINTS: {"items": []},
        }
        self.calls: list[str] = []
        self.allows_pods = False

    def get(self, path: str, **query: str) -> Any:
        self.calls.append(path)
        return self.objects[path]

    def find(self, path: str) -> Any:
        return self.objects.get(path)

    def call(self, method: str, path: str, body: Any = None, query: Any = None) -> None:
        if method == "DELETE":
            del self.objects[path]
        elif self.allows_pods:
            self.objects[f"{path}/{body['metadata']['name']}"] = {}
        else:
            raise Refused(403, "no service account")


def test_bit_by_bit() -> None:
    """What was there once is not asked for again; the pod that asked the scheduler is removed."""
    cluster = _Cluster()
    ready = Readiness(cast("Api", cluster), ["server"])
    assert ready.lacks() == "the namespace default has no default service account"
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    cluster.objects[account] = {}
    assert ready.lacks() == "the namespace default has no config map kube-root-ca.crt"
    cluster.objects["/api/v1/namespaces/default/configmaps/kube-root-ca.crt"] = {}
    assert ready.lacks() == "DNS does not answer: the Service kube-dns has no ready endpoint"
    endpoint = {"conditions": {"ready": True}, "addresses": ["10.214.0.10"]}
    cluster.objects[readiness._ENDPOINTS] = {
        "items": [{"endpoints": None}, {"endpoints": [endpoint]}]
    }
    # Pods of that namespace have no account yet, and then one.
    assert ready.lacks() == "the scheduler was not asked yet"
    cluster.allows_pods = True
    assert ready.lacks() == "the scheduler was not asked yet"
    assert ready.lacks() == "the scheduler has not looked at a pod"
    probe = next(path for path in cluster.objects if path.endswith("probe"))
    cluster.objects[probe] = _unscheduled("0/1 nodes are available")
    assert not ready.lacks()
    assert probe not in cluster.objects
    assert cluster.calls.count(readiness.NODES) == 1
