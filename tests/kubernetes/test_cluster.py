"""A cluster: its nodes, its workloads, and the ways to both; three nodes for all of these tests."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from typing import Any

import pytest
import requests

from conftest import NESTED_IMAGE
from pytest_dind import (
    Address,
    AddressUnreachable,
    ImageUnavailable,
    Kubernetes,
    Namespace,
    SettingsError,
    SnapshotFailed,
    WorkloadFailed,
    WorkloadTimeout,
)

from ..support import until
from .conftest import Apply, deployment, pod, service

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.xdist_group("kubernetes"),
    pytest.mark.long,
]

_SERVE = ("mkdir /www", "hostname >/www/index.html", "exec httpd -f -p 80 -h /www")


def _page(address: Address) -> str:
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode().strip()
    finally:
        connection.close()


def _objects(cluster: Kubernetes, *words: str) -> Any:
    done = cluster.exec(["kubectl", "get", *words, "--output=json"])
    return json.loads(done.stdout)["items"]


def test_nodes(dind_kubernetes: Kubernetes) -> None:
    """All nodes are Ready when the cluster is handed over, each with its role and address."""
    nodes = dind_kubernetes.nodes
    assert [(node.name, node.role) for node in nodes] == [
        ("server", "server"),
        ("agent1", "agent"),
        ("agent2", "agent"),
    ]
    there = {one["metadata"]["name"]: one["status"] for one in _objects(dind_kubernetes, "nodes")}
    for node in nodes:
        ready = [one["status"] for one in there[node.name]["conditions"] if one["type"] == "Ready"]
        assert ready == ["True"]
        assert {"type": "InternalIP", "address": node.ip} in there[node.name]["addresses"]
        assert node.exec(["hostname"]).stdout.strip() == node.name
        assert node.logs(tail=1).count("\n") == 1


def test_nothing_is_in_the_way(dind_kubernetes: Kubernetes) -> None:
    """The default namespace and the system's have no pods that the plugin has made."""
    assert not _objects(dind_kubernetes, "pods", "--namespace=default")
    names = [
        one["metadata"]["name"] for one in _objects(dind_kubernetes, "pods", "-n", "kube-system")
    ]
    assert not [name for name in names if "pytest-dind" in name]


def test_kubeconfig(dind_kubernetes: Kubernetes) -> None:
    """The kubeconfig leads this process to the API, and the environment has no other."""
    found = dind_kubernetes.config
    assert json.loads(dind_kubernetes.kubeconfig.read_text()) == found
    assert dind_kubernetes.kubeconfig.stat().st_mode & 0o777 == 0o600
    assert dind_kubernetes.env["KUBECONFIG"] == str(dind_kubernetes.kubeconfig)
    home = dind_kubernetes.kubeconfig.parent
    files = (str(home / "client.pem"), str(home / "client-key.pem"))
    server = found["clusters"][0]["cluster"]["server"]
    answer = requests.get(f"{server}/version", cert=files, verify=str(home / "ca.pem"), timeout=10)
    assert answer.json()["gitVersion"] == dind_kubernetes.version


def test_environment(dind_kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that is started with it knows nothing of another cluster."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "elsewhere")
    command = ["sh", "-c", "echo $KUBECONFIG $KUBERNETES_SERVICE_HOST"]
    done = subprocess.run(command, env=dind_kubernetes.env, capture_output=True, check=True)
    assert done.stdout.decode().split() == [str(dind_kubernetes.kubeconfig)]


def test_exec(dind_kubernetes: Kubernetes) -> None:
    """A command of kubectl that fails says what it has written."""
    with pytest.raises(subprocess.CalledProcessError, match='pods "none" not found'):
        dind_kubernetes.exec(["kubectl", "get", "pod", "none"])


@pytest.mark.requires_kubernetes(">=1.30")
def test_new_enough() -> None:
    """A test runs on a version that it asks for."""


def test_service(dind_namespace: Namespace, apply: Apply) -> None:
    """A service of pods on all nodes is reached, by its port's number and its name."""
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    web = deployment("web", *_SERVE, replicas=3, topologySpreadConstraints=[spread])
    apply(web, service("web"))
    dind_namespace.wait_for("deployment/web")
    dind_namespace.wait_for("service/web", replicas=3)
    address = dind_namespace.address("web", 80)
    assert address == dind_namespace.address("service/web", "http")
    pods = {
        one["metadata"]["name"]
        for one in _objects(dind_namespace.kubernetes, "pods", f"--namespace={dind_namespace}")
    }
    found: set[str] = set()

    def all_are() -> bool:
        found.add(_page(address))
        return found == pods

    until(all_are, 10, "all three pods answer")
    # Each pod is reached, whichever node it is on.
    for name in pods:
        assert _page(dind_namespace.address(f"pod/{name}", 80)) == name


def test_headless_service(dind_namespace: Namespace, apply: Apply) -> None:
    """A service without an address of its own leads to one of its pods."""
    apply(pod("web", *_SERVE), service("web", clusterIP="None"))
    dind_namespace.wait_for("service/web")
    assert _page(dind_namespace.address("service/web", 80)) == "web"


def test_no_address(dind_namespace: Namespace, apply: Apply) -> None:
    """Without such a service, such a port, or anybody who listens, the error says which."""
    apply(pod("web"), service("web"))
    dind_namespace.wait_for("web")
    with pytest.raises(AddressUnreachable, match="There is no service 'none' in the namespace"):
        dind_namespace.address("service/none", 80)
    with pytest.raises(AddressUnreachable, match="has no port 81/tcp") as caught:
        dind_namespace.address("service/web", 81)
    assert "Its ports: 80/tcp, http/tcp." in caught.value.evidence
    with pytest.raises(AddressUnreachable, match="Port 80/tcp of the pod 'web'"):
        dind_namespace.address("pod/web", 80, wait=0.5)


def test_dns(dind_namespace: Namespace, apply: Apply) -> None:
    """A pod finds services by their names."""
    script = "nslookup kubernetes.default.svc.cluster.local && exit 0", "exit 1"
    apply(pod("ask", *script, restartPolicy="Never"))
    dind_namespace.wait_for("ask")
    assert "10.96.0.1" in dind_namespace.logs("ask")
    assert dind_namespace.logs("ask", tail=1).count("\n") <= 1


def test_namespace(dind_kubernetes: Kubernetes) -> None:
    """A namespace can be used at once, and goes in the background."""
    began = time.monotonic()
    made = dind_kubernetes.namespace("Test [x]!")
    took = time.monotonic() - began
    assert made.startswith("test-x-")
    assert took < 2
    text = json.dumps(pod("web"))
    made.exec(["kubectl", "create", "-f", "-"], stdin=text)
    dind_kubernetes.remove_namespace(made)

    def is_going() -> bool:
        done = dind_kubernetes.exec(["kubectl", "get", "namespace", made], check=False)
        return "Terminating" in done.stdout or done.returncode != 0

    until(is_going, 10, "the namespace is removed")


def test_own_namespace(dind_namespace: Namespace, request: pytest.FixtureRequest) -> None:
    """A test's namespace is named for it."""
    assert dind_namespace.startswith("test-own-namespace-")
    assert dind_namespace.name == str(dind_namespace)


def test_never_pulled(dind_namespace: Namespace, apply: Apply) -> None:
    """A pod whose image no node has is given up at once, with what kubelet says."""
    apply(pod("web", image="none:1", policy="Never"))
    began = time.monotonic()
    with pytest.raises(WorkloadFailed, match="ErrImageNeverPull") as caught:
        dind_namespace.wait_for("web")
    assert time.monotonic() - began < 30
    assert "Event of web: " in caught.value.evidence
    assert "load('none:1')" in caught.value.remedy[0]


def test_latest(dind_kubernetes: Kubernetes, dind_namespace: Namespace, apply: Apply) -> None:
    """Of the tag latest the error says that a registry is asked, though nodes have the image."""
    manifest = deployment("web", image="localhost:1/none")
    del manifest["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"]
    apply(manifest)
    with pytest.raises(WorkloadFailed, match="means imagePullPolicy Always") as caught:
        dind_namespace.wait_for("deploy/web")
    assert caught.value.remedy[0] == (
        "Give the image a tag: docker tag localhost:1/none localhost:1/none:1."
    )
    assert "ImagePullBackOff" in caught.value.evidence


def test_crash(dind_namespace: Namespace, apply: Apply) -> None:
    """A container that crashes again and again is given up, with its last log lines."""
    apply(deployment("web", "echo no config", "exit 3"))
    with pytest.raises(WorkloadFailed, match="CrashLoopBackOff") as caught:
        dind_namespace.wait_for("deployment/web")
    assert "exit code 3" in caught.value.evidence
    assert "no config" in caught.value.evidence


def test_no_place(dind_namespace: Namespace, apply: Apply) -> None:
    """A pod that no node takes is given up after a moment, with the scheduler's reason."""
    apply(pod("web", nodeSelector={"no": "such"}))
    with pytest.raises(WorkloadFailed, match="no node takes the pod 'web': 0/3 nodes"):
        dind_namespace.wait_for("web")


def test_late(dind_namespace: Namespace, apply: Apply) -> None:
    """What takes longer than it may is told as it is."""
    probe = {"exec": {"command": ["false"]}}
    apply(deployment("web", container={"readinessProbe": probe}))
    with pytest.raises(WorkloadTimeout, match="did not get 1 pod that is ready in 2 s") as caught:
        dind_namespace.wait_for("deployment/web", timeout=2)
    assert "0 of 1 ready." in caught.value.evidence


def test_absent(dind_namespace: Namespace) -> None:
    """What is not there is told at once, with what is."""
    with pytest.raises(WorkloadFailed, match="There is no deployment 'web'") as caught:
        dind_namespace.wait_for("deployment/web")
    assert "there are: none" in caught.value.evidence
    with pytest.raises(WorkloadFailed, match=r"The pod 'web' in the namespace .* has no log"):
        dind_namespace.logs("web")


def test_job(dind_namespace: Namespace, apply: Apply) -> None:
    """A job is waited for until it has ended well; one that has failed says so."""

    def job(name: str, script: str) -> dict[str, Any]:
        spec = {**pod(name, script)["spec"], "restartPolicy": "Never"}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {"backoffLimit": 0, "template": {"spec": spec}},
        }

    apply(job("good", "true"), job("bad", "echo no; exit 3"))
    dind_namespace.wait_for("job/good")
    with pytest.raises(WorkloadFailed, match="it has failed: ") as caught:
        dind_namespace.wait_for("job/bad")
    assert "Last log lines of 'c'" in caught.value.evidence


def test_load(
    dind_kubernetes: Kubernetes, dind_namespace: Namespace, apply: Apply, tmp_path: Any
) -> None:
    """An archive comes into each node; what is none is refused with the node's own words."""
    client = dind_kubernetes.daemon._backend.outer()
    archive = tmp_path / "image.tar"
    name = "kubernetes-load:1"
    client.images.get(NESTED_IMAGE).tag(name)
    try:
        archive.write_bytes(b"".join(client.images.get(name).save(named=name)))
    finally:
        client.images.remove(name)
    dind_kubernetes.load(archive)
    apply(
        *(
            pod(node.name, image=name, policy="Never", nodeName=node.name)
            for node in dind_kubernetes.nodes
        )
    )
    for node in dind_kubernetes.nodes:
        dind_namespace.wait_for(node.name)
    archive.write_bytes(os.urandom(2048))
    with pytest.raises(ImageUnavailable, match="does not take the archive"):
        dind_kubernetes.load(archive)
    with pytest.raises(ImageUnavailable, match="cannot be read"):
        dind_kubernetes.load(tmp_path / "none.tar")


def test_no_such_node(dind_kubernetes: Kubernetes) -> None:
    """What is no node of the cluster is told with those that are."""
    with pytest.raises(
        SettingsError, match="kill: 'agent7' is not a node of the cluster"
    ) as caught:
        dind_kubernetes.kill("agent7")
    assert "server, agent1, agent2" in caught.value.evidence


def test_snapshot(dind_kubernetes: Kubernetes) -> None:
    """No snapshot can be taken of a cluster's daemon, which goes on as it is."""
    with pytest.raises(SnapshotFailed, match="No snapshot 'mine' can be taken") as caught:
        dind_kubernetes.daemon.snapshot("mine")
    assert "Kubernetes cluster" in caught.value.evidence
    assert "--dind-reuse" in caught.value.remedy[0]
    assert dind_kubernetes.version.startswith("v1.")
