"""Services of a swarm: found, and where the test process reaches their ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..backends.protocol import Address
from ..causes import explain
from ..daemon import arguments
from ..daemon.ports import reaches
from ..engine.exec import Command
from ..engine.polling import poll
from ..errors import AddressUnreachable, ServiceFailed

if TYPE_CHECKING:
    import docker

    from .node import Node

INGRESS, HOST = "ingress", "host"
RUNNING = "running"
# The kernel's IP_VS, as each network namespace shows it once there is one.
_IP_VS = "/proc/net/ip_vs"
# The first service that needs it has the engine load it.
_LOADED_SECONDS = 2
_POLL_SECONDS = 0.1


def inspect(client: docker.DockerClient, service: object, swarm: str) -> dict[str, Any]:
    """The details of a service: the object, its name or its id.

    Raises:
        ServiceFailed: the swarm has no such service.
    """
    from docker.errors import NotFound

    name = arguments.name_or_id(service)
    api: Any = client.api
    try:
        found: dict[str, Any] = api.inspect_service(name)
    except NotFound as error:
        there = sorted(one["Spec"]["Name"] for one in api.services())
        raise ServiceFailed(
            f"There is no service {name!r} in the swarm {swarm!r}.",
            evidence=f"Services there: {', '.join(there) or 'none'}.",
            remedy=["Create it by this swarm's client: swarm.client.services.create(...)."],
        ) from error
    return found


def tasks(client: docker.DockerClient, service: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tasks of a service, those among them that have ended and are remembered."""
    api: Any = client.api
    found: list[dict[str, Any]] = api.tasks(filters={"service": service["ID"]})
    return found


def address(
    service: Mapping[str, Any],
    running: Sequence[Mapping[str, Any]],
    nodes: Sequence[Node],
    wanted: str,
) -> Address:
    """Where the test process reaches a port of a service.

    By the routing mesh, where the kernel has it and the port is published so; else at the node that
    has a task with the port, where it is published in mode host.

    Args:
        service: The service's details.
        running: Its tasks that run.
        nodes: The nodes of the swarm that are Ready.
        wanted: The port inside the tasks, as `80/tcp`.

    Raises:
        AddressUnreachable: it is not published, no task runs, or neither way works.
    """
    number, _, protocol = wanted.partition("/")
    published = ports(service)
    found = {
        one.get("PublishMode", INGRESS): one
        for one in published
        if (str(one["TargetPort"]), one["Protocol"]) == (number, protocol)
    }
    if not found:
        raise _unpublished(service, wanted, published)
    reached = [node for node in nodes if reaches(node.record)]
    if not reached:
        raise _elsewhere(service, wanted, nodes)
    if INGRESS in found and has_mesh(reached[0]):
        return Address(reached[0].record.address, int(found[INGRESS]["PublishedPort"]))
    if HOST not in found:
        raise _no_mesh(service, wanted, reached[0])
    by_id = {node.node_id: node for node in reached}
    for task in running:
        for one in (task["Status"].get("PortStatus") or {}).get("Ports") or []:
            same = (str(one["TargetPort"]), one["Protocol"]) == (number, protocol)
            if same and one.get("PublishMode") == HOST and task["NodeID"] in by_id:
                return Address(by_id[task["NodeID"]].record.address, int(one["PublishedPort"]))
    raise AddressUnreachable(
        f"No task of the service {_name(service)!r} runs that has the port {wanted}.",
        evidence="It is published in mode host, at the nodes that have its tasks. Tasks that run: "
        f"{len(running)}.",
        remedy=["Wait for the service first: swarm.wait_for(service)."],
    )


def ports(service: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The ports that a service publishes, by the engine's own account."""
    found = (service.get("Endpoint") or {}).get("Ports")
    asked = (service["Spec"].get("EndpointSpec") or {}).get("Ports")
    return list(found or asked or [])


def has_mesh(node: Node) -> bool:
    """Whether the kernel of a node has what the routing mesh is made of (IP_VS)."""
    see = Command(["test", "-e", _IP_VS])

    def look() -> bool | None:
        if node._run(see).returncode == 0:
            return True
        return False if lacks_ip_vs(node) else None

    return bool(poll(look, seconds=_LOADED_SECONDS, every=_POLL_SECONDS))


def lacks_ip_vs(node: Node) -> str:
    """The line of a node's log that says that its kernel has no IP_VS; empty without."""
    for line in reversed(node.logs().splitlines()):
        if "ipvs" in line and any(cause.name == "ip-vs" for cause in explain(line)):
            return line
    return ""


def _name(service: Mapping[str, Any]) -> str:
    return str(service["Spec"]["Name"])


def _shown(published: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"{one['TargetPort']}/{one['Protocol']} in mode {one.get('PublishMode', INGRESS)}"
        for one in published
    ]
    return ", ".join(lines) or "none"


def _unpublished(
    service: Mapping[str, Any], wanted: str, published: Sequence[Mapping[str, Any]]
) -> AddressUnreachable:
    number = wanted.partition("/")[0]
    return AddressUnreachable(
        f"Port {wanted} of the service {_name(service)!r} is not published.",
        evidence=f"Published ports: {_shown(published)}.",
        remedy=[
            f"Create it with endpoint_spec=EndpointSpec(ports={{8080: ({number}, None, 'host')}}) "
            f"(docker service create --publish mode=host,published=8080,target={number}).",
        ],
    )


def _elsewhere(
    service: Mapping[str, Any], wanted: str, nodes: Sequence[Node]
) -> AddressUnreachable:
    why = "no node is Ready"
    if nodes:
        why = f"these are in another network ({nodes[0].record.because})"
    return AddressUnreachable(
        f"Port {wanted} of the service {_name(service)!r} is not reached from here.",
        evidence=f"A service's address is one of a node's container, and {why}.",
        remedy=[
            "Reach it from a container in the swarm, or with Node.exec.",
            "Use an engine on this machine: --dind-host.",
        ],
    )


def _no_mesh(service: Mapping[str, Any], wanted: str, node: Node) -> AddressUnreachable:
    number, _, protocol = wanted.partition("/")
    seen = lacks_ip_vs(node) or f"There is no {_IP_VS} in the node {node.name!r}."
    return AddressUnreachable(
        f"Port {wanted} of the service {_name(service)!r} is not reached: it is published by the "
        "routing mesh (mode ingress), and this kernel has no IP_VS, of which that is made.",
        evidence=seen,
        remedy=[
            "Publish it in mode host, at the nodes that have its tasks: "
            f"EndpointSpec(ports={{8080: ({number}, '{protocol}', 'host')}}, "
            "mode='dnsrr').",
            "Load the module on the engine's machine: sudo modprobe ip_vs.",
        ],
    )
