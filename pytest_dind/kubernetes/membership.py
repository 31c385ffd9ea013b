"""Who is in a cluster: its nodes started side by side, waited for until all is ready, and ended."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..backends.protocol import Address
from ..causes import explained
from ..daemon import ports
from ..daemon.handle import Daemon
from ..engine import containers
from ..engine.polling import poll
from ..errors import AddressUnreachable, DindError, KubernetesFailed
from ..lifetime.layout import KUBECONFIG
from . import access, boxes, namespace, readiness, saved
from .adapters.adapter import API_PORT, Adapter, Plan
from .api import Api
from .boxes import Boxes
from .node import AGENT, SERVER, KubernetesNode

if TYPE_CHECKING:
    import docker

T = TypeVar("T")

# A look costs the cluster a millisecond or two, while it has better things to do.
_POLL_SECONDS = 0.03
# How often it is looked whether the containers run still.
_CHECK_SECONDS = 0.25
_CONNECT_SECONDS = 0.5
_LAST_LINES = 10
# One that is well answers in a moment.
_RESUME_SECONDS = 10


class Members:
    """The nodes of one cluster; may be used by several threads.

    Args:
        daemon: The daemon that they are in.
        image: Their image, which the daemon has.
        adapter: What is to be known of that.
        failover: How soon pods of a node that is gone start elsewhere.
        timeout: Seconds until the cluster is ready, or a further node.
    """

    def __init__(
        self, daemon: Daemon, image: str, adapter: Adapter, failover: str, timeout: float
    ) -> None:
        self._daemon = daemon
        self._image = image
        self._adapter = adapter
        self._failover = failover
        self._timeout = timeout
        self._nodes: list[KubernetesNode] = []
        self._next = 0
        self._lock = threading.Lock()
        self._boxes: Boxes | None = None
        self._api: Api | None = None

    @property
    def daemon(self) -> Daemon:
        """The daemon that they are in."""
        return self._daemon

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self._daemon.name

    @property
    def nodes(self) -> list[KubernetesNode]:
        """The nodes, the server first, without those that were killed."""
        with self._lock:
            return list(self._nodes)

    @property
    def server(self) -> KubernetesNode:
        """The node that has the API.

        Raises:
            KubernetesFailed: it was killed.
        """
        for node in self.nodes:
            if node.role == SERVER:
                return node
        raise KubernetesFailed(
            f"The cluster {self.name!r} has no server any more.",
            evidence="It was killed, and with it the API and all that the cluster knew.",
            remedy=["Have a cluster of the test's own: dind_factory.kubernetes()."],
        )

    @property
    def api(self) -> Api:
        """The cluster's API."""
        assert self._api is not None
        return self._api

    def begin(self, count: int, base: str) -> Address:
        """Start so many nodes, and wait until the cluster is ready; gives where its API is.

        Args:
            count: How many.
            base: The directory in the daemon's container that nodes begin with; empty for none.

        Raises:
            KubernetesFailed: it does not get ready.
        """
        deadline = time.monotonic() + self._timeout
        with self._daemon._connected() as client:
            names = [ports.host(self._daemon.record), self._daemon.ip, self._daemon.name]
            plan = Plan(
                boxes.make_network(client),
                list(dict.fromkeys(filter(None, names))),
                secrets.token_hex(16),
                self._failover,
                base,
            )
            self._boxes = Boxes(self._image, self._adapter, plan)
            with ThreadPoolExecutor(count) as pool:
                # The server first: the others wait for it.
                started = [pool.submit(self._start, client) for _ in range(count)]
                server = started[0].result()
                address = self._address(client, server)
                self._until(client, deadline, lambda: _accepts(address), "its API does not listen")
                credentials = self._until(
                    client,
                    deadline,
                    lambda: access.read(boxes.read(client, server.id, self._adapter.kubeconfig)),
                    f"there is no {self._adapter.kubeconfig} in the server",
                )
                for one in started:
                    one.result()
            home = self._daemon.record.home.path
            self._api = Api(address, credentials, home, self._explain)
            access.write(home, access.config(credentials, address))
            self._settle(client, deadline, self.nodes)
            saved.write(home, plan)
        return address

    def resume(self, plan: Plan, count: int, *, alone: bool) -> str:
        """Take up the cluster that is in the daemon, if all is well with it.

        Args:
            plan: What its nodes have in common.
            count: How many there are to be.
            alone: Whether nobody else uses it: what ended runs have left in it goes.

        Returns:
            Why it can't be used; empty where it can.
        """
        home = self._daemon.record.home.path
        deadline = time.monotonic() + min(self._timeout, _RESUME_SECONDS)
        with self._daemon._connected() as client:
            found = {box.name: box for box in boxes.there(client)}
            names = [boxes.name_of(index) for index in range(count)]
            nodes = [name for name in found if boxes.is_node(name)]
            if sorted(nodes) != sorted(names):
                return f"its nodes are {', '.join(sorted(nodes)) or 'gone'}"
            for name in names:
                if found[name].state != "running":
                    return f"its node {name} is {found[name].state}"
            credentials = access.read(_text(home / KUBECONFIG))
            if credentials is None:
                return "its kubeconfig is gone"
            self._boxes = Boxes(self._image, self._adapter, plan)
            self._nodes = [self._node(index, found[name].id) for index, name in enumerate(names)]
            self._next = count
            address = self._address(client, self.server)
            self._api = Api(address, credentials, home, self._explain)
            access.write(home, access.config(credentials, address))
            self._settle(client, deadline, self.nodes)
            if alone:
                namespace.remove_left(self._api)
                for name in found.keys() - set(names):
                    containers.remove(client.api, found[name].id)
        return ""

    def _address(self, client: docker.DockerClient, server: KubernetesNode) -> Address:
        """Where the API is reached, once it serves.

        Raises:
            KubernetesFailed: the server has ended already.
        """
        try:
            return self._daemon.address(server.id, API_PORT)
        except AddressUnreachable:
            self._demand_running(client)
            raise

    def add(self) -> KubernetesNode:
        """Start one more node, and wait until it is Ready.

        Raises:
            KubernetesFailed: it does not get Ready; nothing is left of it.
        """
        deadline = time.monotonic() + self._timeout
        with self._daemon._connected() as client:
            node = self._start(client)
            try:
                self._settle(client, deadline, [node])
            except BaseException:
                self.drop(node)
                containers.remove(client.api, node.id)
                raise
        return node

    def drop(self, node: KubernetesNode) -> None:
        """Forget a node, which is to end or has ended."""
        with self._lock:
            self._nodes = [one for one in self._nodes if one.id != node.id]

    def _start(self, client: docker.DockerClient) -> KubernetesNode:
        """Start the next node's container."""
        assert self._boxes is not None
        with self._lock:
            index, self._next = self._next, self._next + 1
        node = self._node(index, self._boxes.start(client, index))
        with self._lock:
            self._nodes = sorted([*self._nodes, node], key=lambda one: ip_address(one.ip))
        return node

    def _node(self, index: int, container: str) -> KubernetesNode:
        assert self._boxes is not None
        return KubernetesNode(
            boxes.name_of(index),
            AGENT if index else SERVER,
            self._boxes.plan.ip(index),
            container,
            self._daemon,
            {"KUBECONFIG": self._adapter.kubeconfig},
        )

    def _settle(
        self, client: docker.DockerClient, deadline: float, nodes: Sequence[KubernetesNode]
    ) -> None:
        """Wait until the cluster is ready, and these nodes are.

        Raises:
            KubernetesFailed: it does not get so.
        """
        from requests.exceptions import RequestException

        ready = readiness.Readiness(self.api, [node.name for node in nodes])
        lacks = ""

        def look() -> bool | None:
            nonlocal lacks
            try:
                lacks = ready.lacks()
            except RequestException as error:
                lacks = f"its API does not answer: {error}"
            return None if lacks else True

        self._until(client, deadline, look, lambda: lacks)

    def _until(
        self,
        client: docker.DockerClient,
        deadline: float,
        look: Callable[[], T | None],
        lacks: str | Callable[[], str],
    ) -> T:
        """Wait until a look gives something, as long as all containers run.

        Raises:
            KubernetesFailed: it is late, or a container has ended.
        """
        checked = time.monotonic()

        def guarded() -> T | None:
            nonlocal checked
            found = look()
            if found is None and time.monotonic() - checked >= _CHECK_SECONDS:
                self._demand_running(client)
                checked = time.monotonic()
            return found

        found = poll(guarded, seconds=deadline - time.monotonic(), every=_POLL_SECONDS)
        if found is None:
            self._demand_running(client)
            raise self._late(lacks if isinstance(lacks, str) else lacks())
        return found

    def _demand_running(self, client: docker.DockerClient) -> None:
        """Check that the containers of all nodes run.

        Raises:
            KubernetesFailed: one has ended.
        """
        api: Any = client.api
        running = {one["Id"] for one in api.containers()}
        for node in self.nodes:
            if node.id not in running:
                ended = node.ended()
                if ended is not None:
                    raise KubernetesFailed(
                        f"The cluster {self.name!r} does not get ready: its node {node.name!r} "
                        "has ended.",
                        evidence=ended.evidence,
                        # Those of the cause first, if one is known. The last is for a cluster
                        # of which other nodes are left.
                        remedy=[
                            *ended.remedy[:-1],
                            "Ask what this machine can do: pytest --dind-doctor.",
                        ],
                    ) from ended

    def _late(self, lacks: str) -> KubernetesFailed:
        lines = [f"It lacks: {lacks}"]
        for node in self.nodes:
            lines += [f"Last log lines of {node.name}:", node.logs(tail=_LAST_LINES).rstrip()]
        return explained(
            KubernetesFailed(
                f"The cluster {self.name!r} is not ready after {self._timeout:g} s.",
                evidence="\n".join(lines),
                remedy=[
                    "Look in the log lines for what is in the way.",
                    f"Give it longer: --dind-timeout={2 * self._timeout:g}.",
                ],
            )
        )

    def _explain(self) -> DindError | None:
        """Why the API gave no answer: its server is gone; None where it is busy.

        Raises:
            DaemonLost: the daemon is.
        """
        return self.server.ended()

    def close(self) -> None:
        """Close its connections."""
        if self._api is not None:
            self._api.close()


def remove(daemon: Daemon, nodes: Iterable[KubernetesNode]) -> None:
    """Kill nodes with all that is in them, side by side, and remove their containers."""
    with daemon._connected() as client:
        calls = [partial(containers.remove, client.api, node.id) for node in nodes]
        with ThreadPoolExecutor(max(1, len(calls))) as pool:
            for done in [pool.submit(call) for call in calls]:
                done.result()


def _text(path: Path) -> str:
    """The text of a file; empty where there is none."""
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""


def _accepts(address: Address) -> bool | None:
    try:
        socket.create_connection(address, timeout=_CONNECT_SECONDS).close()
    except OSError:
        return None
    return True
