"""Where a port of a swarm's service is reached, and why it isn't."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_dind import AddressUnreachable
from pytest_dind.cluster import services

_LOG = (
    "level=info msg=something\n"
    'level=error msg="Failed to create a new IPVS handle: could not get ipvs family information '
    'from the kernel. It is possible that ipvs is not enabled in your kernel"'
)


def _node(number: int, log: str = "", mesh: bool = False, address: str = "?") -> Any:
    return SimpleNamespace(
        name=f"node{number}",
        node_id=f"n{number}",
        record=SimpleNamespace(
            address=f"10.0.0.{number}" if address == "?" else address,
            because="its file system is not shared",
        ),
        logs=lambda: log,
        _run=lambda command: SimpleNamespace(returncode=0 if mesh else 1),
    )


def _port(target: int, published: int, mode: str, protocol: str = "tcp") -> dict[str, Any]:
    return {
        "TargetPort": target,
        "PublishedPort": published,
        "PublishMode": mode,
        "Protocol": protocol,
    }


def _service(*ports: dict[str, Any]) -> dict[str, Any]:
    return {"Spec": {"Name": "web"}, "Endpoint": {"Ports": [*ports]}}


def _task(node: str, *ports: dict[str, Any]) -> dict[str, Any]:
    return {"NodeID": node, "Status": {"PortStatus": {"Ports": [*ports]}}}


@pytest.fixture(autouse=True)
def reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes that have an address are reached at it."""
    monkeypatch.setattr(services, "reaches", lambda record: bool(record.address))


def test_mesh() -> None:
    """By the mesh each node that is Ready has the port, whichever has the tasks."""
    service = _service(_port(80, 8080, "host"), _port(80, 30000, "ingress"))
    found = services.address(service, [], [_node(1, mesh=True), _node(2)], "80/tcp")
    assert found == ("10.0.0.1", 30000)


def test_host() -> None:
    """In mode host it is the node that has a task, by the port that this task has."""
    service = _service(_port(80, 0, "host"), _port(80, 53, "host", "udp"))
    tasks = [_task("n9"), _task("n2", _port(80, 53, "host", "udp"), _port(80, 32768, "host"))]
    nodes = [_node(1), _node(2)]
    assert services.address(service, tasks, nodes, "80/tcp") == ("10.0.0.2", 32768)
    assert services.address(service, tasks, nodes, "80/udp") == ("10.0.0.2", 53)


def test_both_without_mesh() -> None:
    """Without the mesh, what is published in mode host besides is taken."""
    service = _service(_port(80, 8080, "host"), _port(80, 30000, "ingress"))
    tasks = [_task("n1", _port(80, 8080, "host"))]
    found = services.address(service, tasks, [_node(1, log=_LOG)], "80/tcp")
    assert found == ("10.0.0.1", 8080)


def test_no_mesh() -> None:
    """The cause that is named is the kernel's, by the node's own words."""
    service = _service(_port(80, 30000, "ingress"))
    with pytest.raises(AddressUnreachable) as caught:
        services.address(service, [], [_node(1, log=_LOG)], "80/tcp")
    assert "this kernel has no IP_VS" in caught.value.what
    assert "could not get ipvs family" in caught.value.evidence
    assert "mode='dnsrr'" in caught.value.remedy[0]
    assert "80, 'tcp', 'host'" in caught.value.remedy[0]


def test_no_mesh_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the log says nothing, that the kernel shows none is the evidence."""
    monkeypatch.setattr(services, "_LOADED_SECONDS", 0)
    with pytest.raises(AddressUnreachable, match="no /proc/net/ip_vs in the node 'node1'"):
        services.address(_service(_port(80, 3, "ingress")), [], [_node(1)], "80/tcp")


def test_not_published() -> None:
    """The ports that are published are named."""
    service = _service(_port(81, 8080, "host"), _port(80, 1, "ingress", "udp"))
    with pytest.raises(AddressUnreachable) as caught:
        services.address(service, [], [_node(1)], "80/tcp")
    assert caught.value.what == "Port 80/tcp of the service 'web' is not published."
    assert caught.value.evidence == (
        "Published ports: 81/tcp in mode host, 80/udp in mode ingress."
    )


def test_no_task() -> None:
    """In mode host a port is nowhere as long as no task runs."""
    service = _service(_port(80, 8080, "host"))
    with pytest.raises(AddressUnreachable, match=r"swarm\.wait_for\(service\)") as caught:
        services.address(service, [], [_node(1)], "80/tcp")
    assert "Tasks that run: 0." in caught.value.evidence


def test_elsewhere() -> None:
    """Nodes on another machine have no address that is reached from here."""
    service = _service(_port(80, 8080, "host"))
    with pytest.raises(AddressUnreachable, match="its file system is not shared"):
        services.address(service, [], [_node(1, address="")], "80/tcp")
    with pytest.raises(AddressUnreachable, match="no node is Ready"):
        services.address(service, [], [], "80/tcp")
