"""Where the test process reaches a service or a pod: a container in the daemon leads there.

It publishes a port, which is reached as any port that a nested container publishes is, in each
mode and on engines elsewhere too, and has the kernel send on what comes to it. A service is reached
by way of the server, where kube-proxy gives it to a pod; a pod by way of its own node, since no
other sees both directions of a connection then.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from ..backends.protocol import Address
from ..daemon.handle import Daemon
from ..engine import containers
from ..errors import AddressUnreachable
from ..lifetime import labels
from . import boxes, waiting, workloads
from .api import Api
from .workloads import Target

# In the nodes' image, which has both programs: nodes need them. One on the nodes' own network needs
# no route.
_SCRIPT = """
[ "$via" = "$to" ] || ip route add "$to" via "$via" || exit
iptables -w -t nat -A PREROUTING -p "$protocol" --dport "$port" -j DNAT --to "$to:$port" &&
iptables -w -t nat -A POSTROUTING -j MASQUERADE || exit
echo ready
exec sleep 2147483647
"""
_WAIT_SECONDS = 10.0


@dataclass(frozen=True)
class Place:
    """Where something is inside the cluster.

    Attributes:
        ip: Its address.
        via: The address of the node by way of which it is reached.
        port: Its port.
        protocol: `tcp` or `udp`.
    """

    ip: str
    via: str
    port: int
    protocol: str


class Relays:
    """The containers that lead to services and pods of one cluster.

    Args:
        daemon: The cluster's daemon.
        image: The image of the nodes.
    """

    def __init__(self, daemon: Daemon, image: str) -> None:
        self._daemon = daemon
        self._image = image
        self._lock = threading.Lock()
        self._by_place: dict[Place, str] = {}

    def address(self, place: Place, what: str, wait: float) -> Address:
        """Where the test process reaches a place.

        Args:
            place: The place.
            what: What is there, for texts.
            wait: Seconds until it is to accept connections; 0 not to wait.

        Raises:
            AddressUnreachable: it does not accept, or there is no way.
        """
        with self._lock:
            if place not in self._by_place:
                self._by_place[place] = self._start(place, what)
            relay = self._by_place[place]
        waits = wait if wait and place.protocol == "tcp" else False
        try:
            return self._daemon.address(relay, place.port, place.protocol, wait=waits)
        except AddressUnreachable as error:
            raise AddressUnreachable(
                f"Port {place.port}/{place.protocol} of the {what} is not reached.",
                evidence=f"Inside the cluster it is {place.ip}:{place.port}.\n{error}",
                remedy=[
                    "Wait for it first: wait_for(...).",
                    "Look whether its server listens on that port, and not on 127.0.0.1 only.",
                ],
            ) from error

    def remove(self) -> None:
        """Remove them: of a cluster that stays."""
        with self._lock:
            there, self._by_place = self._by_place, {}
        if there:
            with self._daemon._connected() as client:
                for relay in there.values():
                    containers.remove(client.api, relay)

    def _start(self, place: Place, what: str) -> str:
        from docker.errors import APIError

        key = f"{place.port}/{place.protocol}"
        with self._daemon._connected() as client:
            api: Any = client.api
            try:
                created = api.create_container(
                    self._image,
                    entrypoint=["sh", "-c", _SCRIPT],
                    command=[],
                    environment={
                        "to": place.ip,
                        "via": place.via,
                        "port": str(place.port),
                        "protocol": place.protocol,
                    },
                    labels={labels.ROLE: labels.NODE},
                    ports=[(place.port, place.protocol)],
                    host_config=api.create_host_config(
                        network_mode=boxes.NETWORK,
                        cap_add=["NET_ADMIN", "NET_RAW"],
                        sysctls={"net.ipv4.ip_forward": "1"},
                        port_bindings={key: None},
                    ),
                )
                api.start(created["Id"])
            except APIError as error:
                raise AddressUnreachable(
                    f"Port {key} of the {what} is not reached: the container that leads to it "
                    "can't be started.",
                    evidence=str(error.explanation or error),
                    remedy=["Look in the daemon's log for why: --dind-logs=all."],
                ) from error
        return str(created["Id"])


def place_of(api: Api, server: str, target: Target, wanted: str) -> Place:
    """Where a port of a service or a pod is inside the cluster.

    Args:
        api: The cluster's API.
        server: The server's address.
        target: The service, or the pod.
        wanted: The port, as `80/tcp` or by its name, as `http/tcp`.

    Raises:
        AddressUnreachable: it is not there, or has no such port.
    """
    found = api.find(target.path)
    if found is None:
        raise AddressUnreachable(
            f"There is no {target} in the cluster.",
            evidence=f"{target.path} is not there.",
            remedy=["Create it first.", "Name its namespace: namespace=..."],
        )
    given, _, protocol = wanted.rpartition("/")
    if target.kind == workloads.SERVICE:
        return _of_service(api, server, target, found, given, protocol)
    if target.kind != workloads.POD:
        raise AddressUnreachable(
            f"The {target} has no address.",
            evidence="Addresses are those of services and pods.",
            remedy=[f'Expose it by a service: "service/{target.name}".', "Name one of its pods."],
        )
    named = {
        (one.get("name"), one.get("protocol", "TCP").lower()): one["containerPort"]
        for container in found["spec"]["containers"]
        for one in container.get("ports") or []
    }
    status = found.get("status") or {}
    port = int(given) if given.isdigit() else named.get((given, protocol))
    if port is None or not status.get("podIP"):
        why = f"It is {status.get('phase')}, and has no address." if port else _ports(named)
        raise AddressUnreachable(
            f"Port {wanted} of the {target} is not reached.",
            evidence=why,
            remedy=["Wait for the pod first: wait_for(...).", "Give a port as a number."],
        )
    return Place(status["podIP"], status["hostIP"], port, protocol)


def _of_service(  # noqa: PLR0913 - a service and a port of it
    api: Api, server: str, target: Target, found: Any, given: str, protocol: str
) -> Place:
    spec = found["spec"]
    there = {
        (name, one.get("protocol", "TCP").lower()): one
        for one in spec.get("ports") or []
        for name in (one.get("name"), str(one["port"]))
        if name
    }
    port = there.get((given, protocol))
    if port is None:
        raise AddressUnreachable(
            f"The {target} has no port {given}/{protocol}.",
            evidence=_ports(there),
            remedy=["Give one of these, by its number or its name."],
        )
    if spec.get("clusterIP") not in (None, "", "None"):
        return Place(spec["clusterIP"], server, int(port["port"]), protocol)
    # Without an address of its own, its name leads to its pods.
    pods = {
        (pod.get("status") or {}).get("podIP"): pod
        for pod in (waiting.see(api, target) or workloads.Seen(target, found, [])).pods
    }
    for address in waiting.ready_addresses(api, target):
        if address in pods:
            node = pods[address]["status"]["hostIP"]
            number = port.get("targetPort", port["port"])
            return Place(address, node, int(number), protocol)
    raise AddressUnreachable(
        f"The {target} leads to no pod that is ready.",
        evidence="It has no address of its own (clusterIP: None).",
        remedy=[f'Wait for it first: wait_for("service/{target.name}").'],
    )


def _ports(there: Any) -> str:
    shown = sorted({f"{name}/{protocol}" for name, protocol in there if name})
    return f"Its ports: {', '.join(shown) or 'none'}."
