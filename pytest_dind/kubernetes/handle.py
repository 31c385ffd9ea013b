"""`Kubernetes`, the handle by which a test uses a cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backends.protocol import Address
from ..daemon import arguments
from ..daemon.ports import key
from ..engine import activation, archives
from ..errors import SettingsError, WorkloadFailed
from ..lifetime import layout
from ..validation import shown
from . import access, images, membership, namespace, relays, waiting, workloads
from .api import Refused
from .membership import Members
from .namespace import Lifetime, Namespace
from .node import KubernetesNode
from .relays import Relays

if TYPE_CHECKING:
    import docker

    from ..daemon.handle import Daemon
    from ..engine.streams import Progress

_DEFAULT = "default"
_ACCEPTS_SECONDS = 10.0


class Kubernetes:
    """A Kubernetes cluster whose nodes are containers in one daemon, ready when it is handed over.

    Args:
        members: Its nodes.
        image: Their image.
        outer: Gives a client on the engine that has images.
        progress: Writes a progress line.
    """

    def __init__(
        self,
        members: Members,
        image: str,
        outer: Callable[[], docker.DockerClient],
        progress: Progress,
    ) -> None:
        self._members = members
        self._outer = outer
        self._progress = progress
        self._relays = Relays(members.daemon, image)
        # What was loaded, for nodes that join.
        self._loaded: list[str | os.PathLike[str]] = []
        self._removals = ThreadPoolExecutor(1)
        # Those that this handle has made.
        self._namespaces: list[Lifetime] = []
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Kubernetes(name={self.name!r}, nodes={[node.name for node in self.nodes]})"

    @property
    def name(self) -> str:
        """The cluster's name, which is that of its daemon."""
        return self._members.name

    @property
    def daemon(self) -> Daemon:
        """The daemon that the nodes are in."""
        return self._members.daemon

    @property
    def nodes(self) -> list[KubernetesNode]:
        """Its nodes, the server first, without those that were killed."""
        return self._members.nodes

    @property
    def kubeconfig(self) -> Path:
        """The path of a kubeconfig, for this user alone, with which tools find the cluster."""
        return self.daemon.record.home.path / layout.KUBECONFIG

    @property
    def config(self) -> dict[str, Any]:
        """The kubeconfig as a dict, as `kubernetes.config.load_kube_config_from_dict` takes it."""
        found: dict[str, Any] = json.loads(self.kubeconfig.read_text())
        return found

    @property
    def env(self) -> dict[str, str]:
        """This process's environment, in which tools find this cluster and no other one."""
        return access.environment(activation.present(), self.kubeconfig)

    @property
    def version(self) -> str:
        """The version of its Kubernetes, such as `v1.34.2`.

        Raises:
            KubernetesFailed: its server is gone.
        """
        return str(self._members.api.get("/version")["gitVersion"])

    def exec(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes | None = None,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the server, where kubectl talks to the cluster as its administrator.

        Args:
            command: The program and its arguments, such as `["kubectl", "get", "pods"]`.
            check: Raise when it exits with another code than 0.
            env: Further environment variables.
            stdin: What it reads, such as a manifest for `kubectl apply -f -`.
            timeout: Seconds until it is killed, with the processes it has started.

        Raises:
            subprocess.CalledProcessError: it failed, and `check` is true; both outputs are in the
                error's text.
            subprocess.TimeoutExpired: it was killed after `timeout` seconds.
            KubernetesFailed: the server is gone.
        """
        return self._members.server.exec(
            command, check=check, env=env, stdin=stdin, timeout=timeout
        )

    def load(self, *sources: str | os.PathLike[str]) -> None:
        """Bring images into the containerd of each node, those too that join later.

        Args:
            sources: As `Daemon.load` takes them: names of images of the outer engine, which pulls
                them when they are missing, or paths of archives that `docker save` made. Images
                that all nodes have are not sent again.

        Raises:
            ImageUnavailable: one can't be had, or a node does not take it.
            KubernetesFailed: the server is gone.
        """
        archives.demand_sources(sources)
        nodes = self.nodes
        if not nodes:
            # Says that it was killed.
            nodes = [self._members.server]
        images.load(self._outer(), nodes, sources, self._progress)
        with self._lock:
            self._loaded += sources

    def address(
        self,
        what: str | Mapping[str, Any],
        port: int | str,
        protocol: str = "tcp",
        *,
        namespace: str = _DEFAULT,
        wait: bool | float = True,
    ) -> Address:
        """Where the test process reaches a port of a service, of any type, or of a pod.

        Args:
            what: `"service/web"`, `"pod/web-0"`, or its manifest; a name alone is a service's, or
                else a pod's.
            port: The port of the service, or of the pod's container, or its name.
            protocol: `tcp` or `udp`.
            namespace: The namespace.
            wait: Wait until it accepts connections, 10 seconds or as many as given; of tcp alone
                that can be known.

        Raises:
            AddressUnreachable: it is not there, has no such port, or nothing accepts.
        """
        arguments.demand(
            "Kubernetes.address", port=port, protocol=protocol, namespace=namespace, wait=wait
        )
        target = self._reached(what, namespace)
        wanted = (
            f"{port}/{protocol}"
            if isinstance(port, str) and not port[:1].isdigit()
            else key(port, protocol)
        )
        place = relays.place_of(self._members.api, self._members.server.ip, target, wanted)
        seconds = (_ACCEPTS_SECONDS if wait is True else wait) or 0
        return self._relays.address(place, str(target), seconds)

    def _reached(self, what: object, where: str) -> workloads.Target:
        target = workloads.target("address", what, where)
        if isinstance(what, str) and "/" not in what:
            service = workloads.Target(workloads.SERVICE, target.name, target.namespace)
            if self._members.api.find(service.path) is not None:
                return service
        return target

    def wait_for(
        self,
        what: str | Mapping[str, Any],
        *,
        namespace: str = _DEFAULT,
        replicas: int | None = None,
        timeout: float = 60,
    ) -> None:
        """Wait until a workload's pods are ready, and none of those that an update replaces.

        A job, and a pod that is to end, is waited for until it has ended well; a service until it
        has an endpoint that is ready. It ends at once, with the pods' states, events and log lines,
        when that can't come true: an image can't be had, a container crashes again and again.

        Args:
            what: `KIND/NAME`, as `"deployment/web"`, or a manifest; a name alone is that of a pod.
            namespace: The namespace.
            replicas: How many pods are to be ready, at the least; by default as many as it asks
                for.
            timeout: Seconds that it may take.

        Raises:
            WorkloadFailed: it can't come true.
            WorkloadTimeout: it did not come true in time.
        """
        arguments.demand(
            "Kubernetes.wait_for", namespace=namespace, replicas=replicas, timeout=timeout
        )
        target = workloads.target("wait_for", what, namespace)
        waiting.Wait(self._members.api, target, replicas, timeout).until()

    def logs(
        self, pod: str, *, namespace: str = _DEFAULT, container: str = "", tail: int | None = None
    ) -> str:
        """What a pod's container has written.

        Args:
            pod: The pod's name.
            namespace: The namespace.
            container: The container's name, where the pod has several.
            tail: How many of the last lines; by default all.

        Raises:
            WorkloadFailed: there is no such pod, or no such container.
        """
        arguments.demand("logs", tail=tail)
        arguments.demand("Kubernetes.logs", namespace=namespace, container=container)
        target = workloads.target("logs", pod, namespace)
        query = {"container": container} if container else {}
        if tail is not None:
            query["tailLines"] = str(tail)
        try:
            return self._members.api.text(f"{target.path}/log", **query)
        except Refused as error:
            raise WorkloadFailed(
                f"The {target} has no log.",
                evidence=f"The API says {error}.",
                remedy=["Wait for it first: wait_for(...).", "Name its container: container=..."],
            ) from error

    # nodes

    def add_node(self) -> KubernetesNode:
        """Start one more node, and wait until it is Ready; it has the images that were loaded.

        Raises:
            KubernetesFailed: it does not get Ready; nothing is left of it.
        """
        node = self._members.add()
        with self._lock:
            sources = list(dict.fromkeys(self._loaded))
        if sources:
            images.load(self._outer(), [node], sources, self._progress)
        return node

    def kill(self, node: KubernetesNode | str) -> None:
        """Kill a node with all that runs in it (SIGKILL), without a word to the others.

        The cluster finds out some 45 seconds later, and starts its pods elsewhere after five
        minutes; with `failover="fast"` that takes 6 and 8 seconds.
        """
        member = self._member(node)
        self._members.drop(member)
        membership.remove(self.daemon, [member])

    def _member(self, node: object) -> KubernetesNode:
        there = self.nodes
        for one in there:
            if one == node or one.name == node:
                return one
        raise SettingsError(
            f"kill: {node.name if isinstance(node, KubernetesNode) else shown(node)} is not a node "
            f"of the cluster {self.name!r}.",
            evidence=f"Its nodes: {', '.join(one.name for one in there) or 'none'}.",
            remedy=["Give one of kubernetes.nodes."],
        )

    # namespaces

    def namespace(self, name: str = "") -> Namespace:
        """Create a namespace in which pods can start at once; its name begins as is given.

        Raises:
            KubernetesFailed: it can't be had.
        """
        arguments.demand("Kubernetes.namespace", name=name)
        found = namespace.unique(name)
        made = Lifetime(found, time.time())
        namespace.create(self._members.api, found)
        with self._lock:
            self._namespaces.append(made)
        return Namespace(found, self)

    def remove_namespace(self, name: str) -> None:
        """Remove a namespace with all that is in it, in the background."""
        arguments.demand("Kubernetes.remove_namespace", name=name)
        with self._lock:
            for made in self._namespaces:
                if made.name == name:
                    made.removed = made.removed or time.time()
        # None is needed where the test has stopped the cluster.
        with contextlib.suppress(RuntimeError):
            self._removals.submit(namespace.remove, self._members.api, str(name))

    # what reports know

    def _facts(self) -> dict[str, Any]:
        """What a report of the run has of it; nothing is asked for."""
        nodes = [{"name": node.name, "role": node.role} for node in self.nodes]
        return {"kind": "kubernetes", "daemons": [self.daemon.id], "nodes": nodes}

    def _lifetimes(self) -> list[Lifetime]:
        """The namespaces that this handle has made, those too that are removed."""
        with self._lock:
            return [dataclasses.replace(one) for one in self._namespaces]

    @property
    def _daemons(self) -> list[Daemon]:
        """The daemons that it is in."""
        return [self.daemon]

    # the end

    def stop(self) -> None:
        """Remove the cluster with all that is in it, before the session's end does."""
        self.close()
        self.daemon.stop()

    def close(self) -> None:
        """Close its connections."""
        # What is to be removed goes with the cluster.
        self._removals.shutdown(wait=False, cancel_futures=True)
        self._members.close()

    def _leave(self) -> None:
        """Leave it to others, before it is closed: without what tests had in it."""
        self._removals.shutdown()
        self._relays.remove()
