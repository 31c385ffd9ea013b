"""The containers that nodes are, in the cluster's daemon: their network, and how each is made."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from ..backends import subnets
from ..engine import containers, tars
from ..errors import KubernetesFailed
from ..lifetime import labels
from ..lifetime.layout import STORE_IN_CONTAINER
from .adapters.adapter import API_PORT, Adapter, NodeSpec, Plan
from .node import AGENT, SERVER

if TYPE_CHECKING:
    import docker

NETWORK = "kubernetes"
_PREFIX = 24
_API = f"{API_PORT}/tcp"
# What a machine has in memory, too.
_IN_MEMORY = ("/run", "/tmp")
# Where the links lead that nodes begin with.
_LINKED = {STORE_IN_CONTAINER: f"{STORE_IN_CONTAINER}:ro"}


def make_network(client: docker.DockerClient) -> IPv4Network:
    """Make the network of the nodes in a daemon; gives its subnet, the upper half of which is free.

    The engine takes addresses that are chosen only in a subnet that is, too.
    """
    from docker.types import IPAMConfig, IPAMPool

    api: Any = client.api
    there = api.networks()
    level = IPv4Network(str(subnets.nested(there).level))
    subnet = next(level.subnets(new_prefix=_PREFIX))
    _, upper = subnet.subnets()
    pool = IPAMPool(subnet=str(subnet), iprange=str(upper))
    api.create_network(
        NETWORK,
        driver="bridge",
        options=subnets.options(there),
        ipam=IPAMConfig(pool_configs=[pool]),
    )
    return subnet


@dataclass(frozen=True)
class Box:
    """A container that is there, on the network of the nodes.

    Attributes:
        name: Its name, which is that of a node, or of none.
        id: Its id.
        state: Its state, as the engine has it: `running`.
    """

    name: str
    id: str
    state: str


def there(client: docker.DockerClient) -> list[Box]:
    """The containers on the network of the nodes, also those that have ended."""
    api: Any = client.api
    found = api.containers(all=True, filters={"network": NETWORK})
    return [Box(one["Names"][0].lstrip("/"), one["Id"], one["State"]) for one in found]


def name_of(index: int) -> str:
    """The name of a node."""
    return f"{AGENT}{index}" if index else SERVER


def is_node(name: str) -> bool:
    """Whether a container on the network of the nodes is one of them."""
    return name == SERVER or name.removeprefix(AGENT).isdigit()


@dataclass(frozen=True)
class Boxes:
    """Makes the containers of a cluster's nodes.

    Attributes:
        image: Their image.
        adapter: What is to be known of that.
        plan: What they have in common.
    """

    image: str
    adapter: Adapter
    plan: Plan

    def start(self, client: docker.DockerClient, index: int) -> str:
        """Start a node's container; gives its id.

        Raises:
            KubernetesFailed: the daemon refuses it.
        """
        from docker.errors import APIError

        try:
            return self._start(client, index)
        except APIError as error:
            from ..causes import explained

            raise explained(
                KubernetesFailed(
                    f"The container of the node {name_of(index)!r} can't be started.",
                    evidence=str(error.explanation or error),
                    remedy=["Look in the daemon's log for why: Daemon.logs(), --dind-logs=all."],
                )
            ) from error

    def _start(self, client: docker.DockerClient, index: int) -> str:
        api: Any = client.api
        spec = self.adapter.node(self.plan, index)
        volumes = {**spec.volumes, **_LINKED} if self.plan.base else spec.volumes
        ip = self.plan.ip(index)
        created = api.create_container(
            self.image,
            name=name_of(index),
            hostname=name_of(index),
            command=list(spec.command),
            environment=dict(spec.environment),
            labels={labels.ROLE: labels.NODE},
            ports=[] if index else [(API_PORT, "tcp")],
            host_config=_host_config(
                api,
                volumes,
                spec.in_memory,
                network_mode=NETWORK,
                # One that the daemon chooses: the test process asks it which.
                port_bindings={} if index else {_API: None},
            ),
            networking_config=api.create_networking_config(
                {NETWORK: api.create_endpoint_config(ipv4_address=ip)}
            ),
        )
        for path, content in spec.files.items():
            put(client, created["Id"], path, content)
        api.start(created["Id"])
        return str(created["Id"])


def feed(
    client: docker.DockerClient, image: str, spec: NodeSpec, chunks: Iterable[bytes]
) -> tuple[int, str]:
    """Run a container of an image of nodes on this input to its end; nothing is left of it.

    Returns:
        Its exit code, and the end of what it has written.

    Raises:
        docker.errors.APIError: the daemon refuses it.
        Exception: what making the input has raised.
    """
    from docker.errors import NotFound

    api: Any = client.api
    created = api.create_container(
        image,
        command=list(spec.command),
        stdin_open=True,
        labels={labels.ROLE: labels.NODE},
        host_config=_host_config(api, spec.volumes, spec.in_memory, network_mode="none"),
    )["Id"]
    try:
        output, errors = containers.feed(api, created, chunks)
        return int(api.wait(created)["StatusCode"]), f"{output}{errors}"
    finally:
        # Gone already where its input was cut short.
        with contextlib.suppress(NotFound):
            containers.remove(api, created)


def _host_config(
    api: Any, volumes: Mapping[str, str], in_memory: Iterable[str], **more: Any
) -> Any:
    return api.create_host_config(
        privileged=True,
        cgroupns="private",
        tmpfs=dict.fromkeys((*_IN_MEMORY, *in_memory), ""),
        binds=[f"{name}:{path}" for name, path in volumes.items()],
        **more,
    )


def put(client: docker.DockerClient, container: str, path: str, content: bytes) -> None:
    """Put a file into a container, whether it runs or not, with the directories that it is in.

    Raises:
        docker.errors.APIError: the daemon refuses it.
    """
    from docker.errors import APIError

    packed = b"".join(tars.pack([tars.Entry(path.lstrip("/"), content)]))
    try:
        client.api.put_archive(container, "/", packed)
    except APIError:
        # Sysbox has no fchmodat2, by which newer Dockers set the mode of a file once it is there,
        # and what they do instead takes a /proc, which they have left by then.
        if _content(client, container, path) != content:
            raise


def read(client: docker.DockerClient, container: str, path: str) -> str:
    """A file of a container; empty while there is none.

    By the engine's own copy: a command in a node that is starting may break its control groups.
    """
    return (_content(client, container, path) or b"").decode()


def _content(client: docker.DockerClient, container: str, path: str) -> bytes | None:
    from docker.errors import NotFound

    try:
        chunks, _ = client.api.get_archive(container, path)
        packed = io.BytesIO(b"".join(chunks))
    except NotFound:
        return None
    with tarfile.open(fileobj=packed) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                return file.read()
    return None
