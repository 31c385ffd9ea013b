"""What nodes are made of, for each kind of images."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from typing import Any

import pytest

from pytest_dind import ImageUnavailable
from pytest_dind.kubernetes.adapters import registry
from pytest_dind.kubernetes.adapters.adapter import Plan
from pytest_dind.kubernetes.adapters.k3s import K3s
from pytest_dind.kubernetes.adapters.node import NodeImage
from pytest_dind.kubernetes.base import Base

_LABEL = "pytest-dind.kubernetes-node"


def _plan(failover: str = "default", base: str = "") -> Plan:
    names = ("172.17.0.2", "kubernetes1")
    return Plan(IPv4Network("10.214.0.0/24"), names, "secret", failover, base)


def _image(*entrypoint: str, **labels: str) -> dict[str, Any]:
    return {"Config": {"Labels": labels, "Entrypoint": list(entrypoint)}}


def test_addresses() -> None:
    """A node's address is the network's base, 10 and its index."""
    assert [_plan().ip(index) for index in (0, 1, 63)] == [
        "10.214.0.10",
        "10.214.0.11",
        "10.214.0.73",
    ]


def test_kinds() -> None:
    """An image is known by its label, or by its entrypoint."""
    assert isinstance(registry.adapter("mine", _image("kube", **{_LABEL: "1"})), NodeImage)
    assert isinstance(registry.adapter("rancher/k3s", _image("/bin/k3s")), K3s)


@pytest.mark.parametrize(
    ("details", "evidence"),
    [
        (_image("sh", "-c"), f"It has no label {_LABEL}, and its entrypoint is not k3s: sh -c."),
        (_image(), "its entrypoint is not k3s: none."),
        ({"Config": None}, "its entrypoint is not k3s: none."),
        (_image("kube", **{_LABEL: "2"}), f"It has the label {_LABEL}=2, where 1 is known"),
    ],
)
def test_no_node(details: dict[str, Any], evidence: str) -> None:
    """An image of neither kind is an error, which names both."""
    with pytest.raises(ImageUnavailable) as caught:
        registry.adapter("busybox", details)
    assert caught.value.what == "The image 'busybox' is not one of a Kubernetes node."
    assert evidence in caught.value.evidence
    assert "rancher/k3s" in caught.value.remedy[0]
    assert f"{_LABEL}=1" in caught.value.remedy[1]


def test_contract() -> None:
    """A node by the contract is told its index, the server, and the names of the API."""
    server, agent = (NodeImage().node(_plan("fast"), index) for index in (0, 2))
    assert (server.command, agent.command) == (["server"], ["agent"])
    assert agent.environment == {
        "NODE_INDEX": "2",
        "NODE_SERVER": "10.214.0.10",
        "FAILOVER": "fast",
        "SANS": "IP:172.17.0.2,DNS:kubernetes1",
    }
    assert agent.volumes == server.volumes == {"cluster": "/cluster"}


def test_base() -> None:
    """What nodes begin with is made where they look for it, and is theirs to read alone."""
    importer = NodeImage().importer("/made")
    assert importer is not None
    assert (importer.command, importer.volumes) == (["images"], {"/made": "/store/base"})
    volumes = NodeImage().node(_plan(base="/made"), 1).volumes
    assert volumes == {"cluster": "/cluster", "/made": "/store/base:ro"}
    assert K3s().importer("/made") is None


def test_nothing_to_begin_with() -> None:
    """Without images there is nothing to make, and k3s has no use for it."""
    node = NodeImage()
    assert Base.of("kube", node, ["a"]) == Base("kube", node, ("a",))
    assert Base.of("kube", node, []) is None
    assert Base.of("rancher/k3s", K3s(), ["a"]) is None


def test_k3s() -> None:
    """k3s leaves out what tests seldom need, and its agents know the server and the token."""
    server, agent = (K3s().node(_plan(), index) for index in (0, 1))
    assert server.command == [
        "server",
        "--disable=traefik",
        "--disable=servicelb",
        "--disable=metrics-server",
        "--tls-san=172.17.0.2",
        "--tls-san=kubernetes1",
        "--flannel-backend=host-gw",
        "--node-ip=10.214.0.10",
    ]
    assert server.environment == {"K3S_TOKEN": "secret"}
    assert agent.command == ["agent", "--node-ip=10.214.0.11"]
    assert agent.environment == {"K3S_TOKEN": "secret", "K3S_URL": "https://10.214.0.10:6443"}
    assert not server.files


def test_fast_k3s() -> None:
    """With fast failover leases are short, and nodes and pods without one are given up soon."""
    server, agent = (K3s().node(_plan("fast"), index) for index in (0, 1))
    for spec in (server, agent):
        (drop_in,) = spec.files.values()
        assert json.loads(drop_in)["nodeLeaseDurationSeconds"] == 4
    assert "--kube-controller-manager-arg=node-monitor-grace-period=5s" in server.command
    assert "--kube-apiserver-arg=default-unreachable-toleration-seconds=1" in server.command
    assert len(agent.command) == 2
