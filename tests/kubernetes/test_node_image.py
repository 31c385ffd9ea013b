"""The node image keeps its contract: nodes, what they do together, and how they end.

Nodes are containers that docker-py runs in a daemon, so that this is the image's doing alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import docker
import docker.errors
import pytest
from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool

from conftest import NESTED_IMAGE
from pytest_dind.kubernetes import boxes
from pytest_dind.kubernetes.adapters.adapter import NodeSpec
from pytest_dind.runs.factory import Factory

from ..support import until
from .conftest import NODE_IMAGE

# Three nodes that one worker starts, for most of these tests.
pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.requires_isolation,
    pytest.mark.xdist_group("node image"),
]

NOTHING: Mapping[str, str] = {}
# Of what runs in pods, busybox has all.
_SERVE = "hostname >/index.html; echo serving; exec httpd -f -p 80 -h /"


class Cluster:
    """Nodes in a daemon, on a network of their own."""

    def __init__(self, client: docker.DockerClient, number: int, **environment: str) -> None:
        self.client = client
        self.environment = environment
        self.nodes: dict[int, Container] = {}
        self._name = f"k{uuid4().hex[:6]}"
        self._base = f"10.190.{number}"
        pool = IPAMPool(subnet=f"{self._base}.0/24")
        self._network = client.networks.create(self._name, ipam=IPAMConfig(pool_configs=[pool]))
        self._volume = client.volumes.create(self._name)

    def create(self, index: int, environment: Mapping[str, str] = NOTHING, **how: Any) -> Container:
        """Make a node that does not run yet; `environment` goes before that of all nodes."""
        given = {
            "NODE_INDEX": str(index),
            "NODE_SERVER": f"{self._base}.10",
            **self.environment,
            **environment,
        }
        address = self.client.api.create_endpoint_config(ipv4_address=f"{self._base}.{10 + index}")
        how = {
            "command": ["server" if index == 0 else "agent"],
            "privileged": True,
            "tmpfs": {"/run": "", "/tmp": ""},
            "volumes": {self._name: {"bind": "/cluster", "mode": "rw"}},
            "network": self._name,
            "networking_config": {self._name: address},
            **how,
        }
        node: Container = self.client.containers.create(
            NODE_IMAGE,
            name=f"{self._name}-{index}",
            hostname=f"node{index}",
            cgroupns="private",
            environment=given,
            **how,
        )
        self.nodes[index] = node
        return node

    def start(self, *indices: int) -> None:
        """Start nodes at once, and wait until each is Ready and the name server answers."""
        created = [self.create(index) for index in indices]
        with ThreadPoolExecutor(len(created)) as pool:
            list(pool.map(Container.start, created))
        names = {f"node{index}" for index in self.nodes}
        until(lambda: self.ready() == names, 60, "all nodes are Ready")
        until(lambda: self.has("endpointslice/kube-dns", "kube-system"), 30, "DNS serves")
        until(lambda: self.has("serviceaccount/default", "default"), 30, "pods may be made")

    def ready(self) -> set[str]:
        """The nodes that are Ready."""
        status, said = self.exec(0, "kubectl", "get", "nodes", "--output=json")
        # The daemon loses what a command prints now and then, under load.
        return {
            node["metadata"]["name"]
            for node in (json.loads(said)["items"] if status == 0 and said else [])
            for condition in node["status"]["conditions"]
            if condition["type"] == "Ready" and condition["status"] == "True"
        }

    def has(self, what: str, namespace: str) -> bool:
        """Whether there is such an object."""
        return self.exec(0, "kubectl", "get", what, "--namespace", namespace)[0] == 0

    def exec(self, index: int, *command: str) -> tuple[int, str]:
        """Run a command in a node; its status and what it prints."""
        done: Any = self.nodes[index].exec_run(list(command))
        return int(done.exit_code), done.output.decode(errors="replace")

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl, and give what it prints."""
        status, said = self.exec(0, "kubectl", *arguments)
        assert status == 0, said
        return said

    def apply(self, *objects: dict[str, Any]) -> None:
        """Have objects in the cluster."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        boxes.put(self.client, str(self.nodes[0].id), "/var/objects.json", text.encode())
        self.kubectl("apply", "--filename=/var/objects.json")

    def serve(self, name: str, index: int) -> None:
        """Have a pod on a node that serves the pod's name, and wait until it is Ready."""
        labels = {"app": name}
        container = {
            "name": "main",
            "image": NESTED_IMAGE,
            "imagePullPolicy": "Never",
            "command": ["sh", "-c", _SERVE],
        }
        spec = {
            "nodeName": f"node{index}",
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        }
        metadata = {"name": name, "labels": labels}
        self.load(index)
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        self.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")

    def load(self, index: int) -> None:
        """Have the small image in a node's containerd."""
        node = self.nodes[index]
        archive = f"/var/{self._name}.tar"
        if self.exec(index, "test", "-e", archive)[0]:
            image = b"".join(self.client.images.get(NESTED_IMAGE).save(named=True))
            boxes.put(self.client, str(node.id), archive, image)
            status, said = self.exec(index, "ctr", "-n", "k8s.io", "images", "import", archive)
            assert status == 0, said

    def end(self, index: int) -> tuple[int, str]:
        """Wait until a node has ended by itself; its status and the end of its log."""
        node = self.nodes[index]
        status = int(node.wait(timeout=60)["StatusCode"])
        return status, node.logs(tail=30).decode(errors="replace")

    def remove(self) -> None:
        """Remove all of it."""
        for node in self.nodes.values():
            node.remove(force=True, v=True)
        self._network.remove()
        self._volume.remove(force=True)


@pytest.fixture(scope="module")
def client(dind_factory: Factory) -> Iterator[docker.DockerClient]:
    """A daemon that has the node image, and a small one for pods."""
    daemon = dind_factory(load=[NODE_IMAGE, NESTED_IMAGE])
    yield daemon.client()
    daemon.stop()


@pytest.fixture(scope="module")
def machine_settings(client: docker.DockerClient) -> dict[str, str]:
    """Settings of the whole machine, as they were before any node."""
    return _machine_settings(client)


def _machine_settings(client: docker.DockerClient) -> dict[str, str]:
    names = ["kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "vm/panic_on_oom"]
    command = ["cat", *(f"/proc/sys/{name}" for name in names)]
    said = client.containers.run(NESTED_IMAGE, command, remove=True)
    return dict(zip(names, said.decode().split(), strict=True))


@pytest.fixture(scope="module")
def cluster(client: docker.DockerClient, machine_settings: dict[str, str]) -> Iterator[Cluster]:
    """A server and an agent, started at once; the third test adds another."""
    made = Cluster(client, 1, SANS="DNS:front.example,IP:192.0.2.7")
    made.start(0, 1)
    yield made
    made.remove()


@pytest.fixture
def alone(client: docker.DockerClient) -> Iterator[Cluster]:
    """Nodes of a test's own."""
    made = Cluster(client, 2)
    yield made
    made.remove()


def test_pod_has_a_log_and_a_service(cluster: Cluster) -> None:
    """A pod of the agent is reached by the service's name, and by its address from both nodes."""
    cluster.serve("web", 1)
    cluster.kubectl("expose", "pod/web", "--port=80")
    assert cluster.kubectl("logs", "web") == "serving\n"
    address = cluster.kubectl("get", "service/web", "--output=jsonpath={.spec.clusterIP}")
    for index in (0, 1):
        ask = ["curl", "--silent", "--retry=20", "--retry-delay=1", "--retry-all-errors"]
        status, said = cluster.exec(index, *ask, "--max-time", "20", f"http://{address}")
        assert (status, said) == (0, "web\n")
    assert cluster.kubectl("exec", "web", "--", "wget", "-qO-", "http://web") == "web\n"
    name = "kubernetes.default.svc.cluster.local"
    assert "Address: 10.96.0.1\n" in cluster.kubectl("exec", "web", "--", "nslookup", name)


def test_node_added_later_is_one_of_them(cluster: Cluster) -> None:
    """The others were not told of it, and still its pods and theirs reach each other."""
    cluster.serve("early", 1)
    cluster.start(2)
    cluster.serve("late", 2)
    for one, other in (("early", "late"), ("late", "early")):
        address = cluster.kubectl("get", f"pod/{other}", "--output=jsonpath={.status.podIP}")
        said = cluster.kubectl("exec", one, "--", "wget", "-qO-", f"http://{address}")
        assert said == f"{other}\n"
    assert address.startswith("10.244.1.")


def test_certificate_has_the_names_that_were_given(cluster: Cluster) -> None:
    """A client elsewhere reaches the API by these."""
    _, said = cluster.exec(
        0,
        *("openssl", "x509", "-in", "/run/kubernetes/kube-apiserver.crt"),
        *("-noout", "-ext", "subjectAltName"),
    )
    for name in ("DNS:front.example", "IP Address:192.0.2.7", "DNS:node0", "IP Address:127.0.0.1"):
        assert name in said


def test_machine_stays_as_it_is(
    cluster: Cluster, client: docker.DockerClient, machine_settings: dict[str, str]
) -> None:
    """Kubelet believes that it has set what it wants of the kernel."""
    assert cluster.exec(1, "cat", "/proc/sys/kernel/panic") == (0, "10\n")
    assert _machine_settings(client) == machine_settings


def test_component_that_ends_is_named_with_its_last_words(alone: Cluster) -> None:
    """The node ends with it: nobody waits for a cluster that is half there."""
    alone.start(0)
    find = "grep -lsx kubelet /proc/[0-9]*/comm | cut -d/ -f3"
    assert alone.exec(0, "bash", "-c", f"kill -ABRT $({find})") == (0, "")
    status, said = alone.end(0)
    assert status == 1
    head, _, tail = said.rpartition("kubelet ended with status ")
    assert "all components are started" in head
    assert tail.startswith("2. The end of its log:\n    ")
    assert "    SIGABRT: abort\n" in tail
    assert "goroutine" not in tail


def test_component_that_never_comes_up_is_named(alone: Cluster) -> None:
    """What it said is told at once, not after what waits for it has given up."""
    program = "/usr/local/bin/kube-apiserver"
    script = f"""
        rm {program}
        printf '#!/bin/sh\\necho no such flag: --x >&2\\nexit 3\\n' >{program}
        chmod +x {program}
        exec kubernetes-node server
    """
    alone.create(0, entrypoint=["bash", "-c", script], command=[]).start()
    status, said = alone.end(0)
    assert status == 1
    end = "kube-apiserver ended with status 3. The end of its log:\n    no such flag: --x\n"
    assert said.endswith(end)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"NODE_SERVER": ""}, "an agent needs NODE_SERVER, the server's IPv4 address"),
        ({"NODE_INDEX": "64"}, "NODE_INDEX is '64': it has to be from 0 to 63"),
        ({"NODE_INDEX": "one"}, "NODE_INDEX is 'one': it has to be from 0 to 63"),
        ({"FAILOVER": "slow"}, "FAILOVER is 'slow': it has to be default or fast"),
    ],
)
def test_bad_setting_is_refused(alone: Cluster, environment: dict[str, str], message: str) -> None:
    """The text names it, and what it may be."""
    alone.create(1, environment).start()
    assert alone.end(1) == (2, f"kubernetes-node: {message}\n")


def test_container_without_privileges_says_what_it_lacks(alone: Cluster) -> None:
    """Not kubelet, much later and by other words."""
    alone.create(0, privileged=False).start()
    status, said = alone.end(0)
    assert status == 2
    assert "the container has to be privileged, or run by Sysbox" in said


def test_nodes_begin_with_images_that_were_made(alone: Cluster) -> None:
    """A directory that `images` has made of an archive is what a new node has, and only reads."""
    client, volume = alone.client, f"images-{uuid4().hex[:6]}"
    spec = NodeSpec(["images"], {}, {volume: "/store/base"})
    archive = client.images.get(NESTED_IMAGE).save(named=True)
    try:
        status, said = boxes.feed(client, NODE_IMAGE, spec, archive)
        assert status == 0, said
        binds = {volume: {"bind": "/store/base", "mode": "ro"}}
        alone.create(0, volumes=binds).start()
        names = ("ctr", "-n", "k8s.io", "images", "list", "--quiet")
        until(lambda: f"docker.io/{NESTED_IMAGE}" in alone.exec(0, *names)[1], 30, "it has it")
        said = alone.nodes[0].logs().decode()
        assert "images are there" in said
        assert "is imported" not in said
        # What is no archive is told, and leaves nothing of the last one.
        alone.nodes[0].remove(force=True, v=True)
        del alone.nodes[0]
        status, said = boxes.feed(client, NODE_IMAGE, spec, iter([b"none"]))
        assert status == 1
        assert "ctr: " in said
    finally:
        client.volumes.get(volume).remove(force=True)


def test_node_ends_when_it_is_told_to(alone: Cluster) -> None:
    """Within two seconds, whatever of it runs; started again it has what it had."""
    alone.start(0)
    alone.kubectl("create", "namespace", "kept")
    began = time.monotonic()
    alone.nodes[0].stop(timeout=30)
    took = time.monotonic() - began
    assert alone.end(0)[0] == 0
    assert took < 2
    alone.nodes[0].start()
    until(lambda: alone.has("namespace/kept", "kept"), 60, "the API serves what it had")
    until(lambda: alone.ready() == {"node0"}, 60, "the node is Ready again")
