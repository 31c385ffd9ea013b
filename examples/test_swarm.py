"""A swarm: a service in two replicas on a network of its own, updated, and a node that is lost."""

import http.client
from collections.abc import Iterator
from typing import Any

import pytest
from docker.types import EndpointSpec, ServiceMode

from pytest_dind import Address, Swarm

SERVE = 'mkdir /www; echo "$PAGE" >/www/index.html; exec httpd -f -p 80 -h /www'


@pytest.fixture
def web(dind_swarm: Swarm, image: str) -> Iterator[Any]:
    """A service that runs on each of two nodes, and serves at their port 8080."""
    # docker-py's types know a published port as text alone; the engine takes a number.
    port: Any = {8080: (80, "tcp", "host")}
    services: Any = dind_swarm.client.services
    service = services.create(
        image,
        ["sh", "-c", SERVE],
        name="web",
        env=["PAGE=first"],
        mode=ServiceMode("replicated", 2),
        # The routing mesh, which is the default, takes a kernel with IP_VS; this works on all.
        endpoint_spec=EndpointSpec("dnsrr", port),
        stop_grace_period=0,
    )
    dind_swarm.wait_for(service)
    yield service
    service.remove()


def get(address: Address) -> str:
    """The page at the address, asked for without a proxy."""
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_a_service_answers(dind_swarm: Swarm, web: Any) -> None:
    """`address()` says where the test process reaches a port of the service."""
    assert get(dind_swarm.address(web, 80)) == "first\n"


def test_a_rolling_update(dind_swarm: Swarm, web: Any) -> None:
    """`wait_for()` waits until the tasks of the update run, and no others."""
    web.reload()
    web.update(env=["PAGE=second"], mode=ServiceMode("replicated", 2))
    dind_swarm.wait_for(web)
    assert get(dind_swarm.address(web, 80)) == "second\n"


def test_a_node_leaves(dind_swarm: Swarm, web: Any) -> None:
    """The tasks of a node that leaves start on another one, such as one that has just joined."""
    joined = dind_swarm.join()
    busy = {task["NodeID"] for task in web.tasks(filters={"desired-state": "running"})}
    workers = [node for node in dind_swarm.nodes if node.role == "worker"]
    dind_swarm.leave(next(node for node in workers if node.node_id in busy))
    dind_swarm.wait_for(web)
    assert joined in dind_swarm.nodes
    assert get(dind_swarm.address(web, 80)) == "first\n"
