"""`Swarm`, the handle by which a test uses a swarm of daemons."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..backends.protocol import Address
from ..daemon import arguments
from ..daemon.ports import key
from ..engine.images import ImageSource
from ..errors import DindError, SettingsError, SwarmFailed
from ..validation import shown
from . import services, tasks
from .membership import MANAGER, WORKER, Membership
from .node import Node
from .waiting import Wait

if TYPE_CHECKING:
    import docker
    from docker.models.services import Service

    from ..daemon.handle import Daemon
    from ..engine.streams import Progress

# A node's traffic with the others: that of the networks between tasks is wrapped in it.
_FROM, _TO = "INPUT -s", "OUTPUT -d"


class Swarm:
    """Docker daemons that are one swarm, each of them Ready when it is handed over.

    Args:
        name: The swarm's name, with which those of its daemons begin.
        members: Who is in it.
        add: Starts a daemon more, which joins in this role.
        progress: Writes a progress line.
    """

    def __init__(
        self,
        name: str,
        members: Membership,
        add: Callable[[str], Node],
        progress: Progress,
    ) -> None:
        self._name = name
        self._members = members
        self._add = add
        self._progress = progress

    def __repr__(self) -> str:
        return f"Swarm(name={self.name!r}, nodes={[node.name for node in self.nodes]})"

    @property
    def name(self) -> str:
        """The swarm's name, with which those of its daemons begin."""
        return self._name

    @property
    def nodes(self) -> list[Node]:
        """Its nodes, in the order in which they joined, without those that left or were killed."""
        return self._members.nodes

    @property
    def leader(self) -> Node:
        """The manager that leads it now; an election is waited for.

        Raises:
            SwarmFailed: there is none, and can be none.
        """
        return self._members.look_until_there().leader

    @property
    def client(self) -> docker.DockerClient:
        """A docker client on the leader; it is closed with the swarm.

        After the loss of the leader, this is one on the next.

        Raises:
            SwarmFailed: there is no leader, and can be none.
        """
        return self._members.client(self.leader)

    # nodes

    def join(self, *, manager: bool = False) -> Node:
        """Start one more daemon, which joins as a worker, and wait until it is Ready.

        Args:
            manager: Whether it joins as a manager.

        Raises:
            DindError: it can't be had; its start has left nothing behind.
        """
        arguments.demand("Swarm.join", manager=manager)
        # Before anything is started: without a leader nobody lets it in.
        self._members.look_until_there()
        node = self._add(MANAGER if manager else WORKER)
        try:
            self._members.settle([node])
        except BaseException:
            self._members.drop(node)
            node.stop()
            raise
        return node

    def leave(self, node: Node) -> None:
        """Have a node leave the swarm, as one that is taken out of service; its daemon is removed.

        Its tasks start on other nodes. A manager becomes a worker before.

        Raises:
            SwarmFailed: it is the last manager.
        """
        member = self._member("leave", node)
        if member.role == MANAGER:
            self.demote(member)
        self._members.remove(member)
        self._members.drop(member)
        member.stop()

    def kill(self, node: Node) -> None:
        """Kill a node's daemon (SIGKILL), with all that runs in it, without a word to the others.

        The managers find out 6 s or more after that, and start its tasks on other nodes; the loss
        of the leader begins an election of some 10 s.
        """
        member = self._member("kill", node)
        self._members.drop(member)
        member.stop()

    @contextlib.contextmanager
    def partition(self, node: Node) -> Iterator[Node]:
        """Have a node and the others not reach each other, as long as the block lasts.

        One that joins meanwhile is not cut off.

        The test still reaches both sides; `client` and `leader` are those of the others.
        """
        member = self._member("partition", node)
        if self._members.is_cut(member):
            raise SettingsError(
                f"partition: {member.name!r} is cut off already.",
                evidence="It is so as long as the block lasts that began it.",
                remedy=["End that block first."],
            )
        peers = sorted({ip for one in self._but(member) for ip in one.addresses()})
        rules = [f"{rule} {ip}" for ip in peers for rule in (_FROM, _TO)]
        with self._members.cut(member):
            try:
                member.exec(["sh", "-ec", _script("--insert", rules)])
                yield member
            finally:
                # The test may have killed the node meanwhile.
                with contextlib.suppress(DindError):
                    member.exec(["sh", "-c", _script("--delete", rules)], check=False)

    def promote(self, node: Node) -> None:
        """Make a manager of a worker, and wait until the other managers reach it.

        Raises:
            SwarmFailed: it becomes none in time.
        """
        self._members.set_role(self._member("promote", node), MANAGER)

    def demote(self, node: Node) -> None:
        """Make a worker of a manager, and wait until it is one.

        Raises:
            SwarmFailed: it is the last manager.
        """
        member = self._member("demote", node)
        look = self._members.look_until_there()
        managers = [one["ID"] for one in look.entries if one["Spec"]["Role"] == MANAGER]
        if managers == [member.node_id]:
            raise SwarmFailed(
                f"{member.name!r} is the last manager of the swarm {self.name!r}.",
                evidence="A swarm without a manager is none: nobody knows its services then.",
                remedy=[
                    "Make another node a manager first: swarm.promote(node).",
                    "End the whole swarm: swarm.stop().",
                ],
            )
        self._members.set_role(member, WORKER)

    def _member(self, call: str, node: object) -> Node:
        """The swarm's node that is given, as the object or by its name.

        Raises:
            SettingsError: it is none.
        """
        there = self.nodes
        for one in there:
            if (isinstance(node, Node) and node.node_id == one.node_id) or node == one.name:
                return one
        raise SettingsError(
            f"{call}: {node.name if isinstance(node, Node) else shown(node)} is not a node of the "
            f"swarm {self.name!r}.",
            evidence=f"Its nodes: {', '.join(one.name for one in there) or 'none'}.",
            remedy=["Give one of swarm.nodes."],
        )

    # images

    def load(self, *sources: str | os.PathLike[str]) -> list[str]:
        """Bring images into all nodes; as `Daemon.load`.

        One that joins later has those of `--dind-load` alone.

        Raises:
            ImageUnavailable: one can't be had.
        """
        first = self.leader
        # What the outer engine lacks it pulls for the first alone.
        loaded = first.load(*sources)
        self._each(self._but(first), lambda node: node.load(*sources))
        return loaded

    def build(self, path: str | os.PathLike[str], tag: str, **options: Any) -> str:
        """Build a Dockerfile's directory in one node, and bring the image into the others.

        As `Daemon.build`.

        Raises:
            BuildFailed: a step fails.
        """
        first = self.leader
        built = first.build(path, tag, **options)
        with first._connected() as source:

            def bring(node: Node) -> None:
                with node._connected() as client:
                    ImageSource(source, self._progress).load(client, [tag])

            self._each(self._but(first), bring)
        return built

    def _but(self, node: Node) -> list[Node]:
        """The other nodes."""
        return [one for one in self.nodes if one.node_id != node.node_id]

    def _each(self, nodes: list[Node], call: Callable[[Node], object]) -> None:
        """Do something for nodes side by side."""
        if nodes:
            with ThreadPoolExecutor(len(nodes)) as pool:
                list(pool.map(call, nodes))

    # services

    def address(self, service: Service | str, port: int | str, protocol: str = "tcp") -> Address:
        """Where the test process reaches a published port of a service.

        That is by the routing mesh, where the kernel has it (IP_VS) and the port is published so
        (mode ingress, the default); else the node that has a task, for a port in mode host.

        Args:
            service: The service: the object, its name or its id.
            port: The port inside its tasks, as `80` or `"80/udp"`.
            protocol: `tcp`, `udp` or `sctp`.

        Raises:
            AddressUnreachable: the port is not published, or neither way works.
            ServiceFailed: there is no such service.
        """
        arguments.demand("Swarm.address", service=service)
        wanted = key(port, protocol)
        look = self._members.look_until_there()
        with look.leader._connected() as client:
            details = services.inspect(client, service, self.name)
            seen = tasks.Seen(details, services.tasks(client, details), frozenset(look.ready()))
        ready = [node for node in self.nodes if node.node_id in seen.ready]
        return services.address(details, seen.good(), ready, wanted)

    def wait_for(
        self, service: Service | str, *, replicas: int | None = None, timeout: float = 60
    ) -> None:
        """Wait until a service's tasks run, and none of those that an update replaces.

        A task counts once it has run for half a second.

        It ends at once, with the tasks' errors, when that can't come true any more: tasks have
        ended and are not tried again, were refused twice, or no node has their image. A service
        that is a job is waited for until its tasks have ended well.

        Args:
            service: The service: the object, its name or its id.
            replicas: How many tasks are to run, at the least; by default as many as it asks for.
            timeout: Seconds that it may take.

        Raises:
            ServiceFailed: it can't come true.
            ServiceTimeout: it did not come true in time.
            SwarmFailed: too few managers are left to know of it.
        """
        arguments.demand("Swarm.wait_for", service=service, replicas=replicas, timeout=timeout)
        Wait(self.name, self._members, replicas, timeout).until(service)

    # what reports know

    def _facts(self) -> dict[str, Any]:
        """What a report of the run has of it; nothing is asked for."""
        roles = self._members.roles()
        nodes = [{"name": name, "role": role} for name, role in roles.items()]
        return {"kind": "swarm", "daemons": [node.id for node in self.nodes], "nodes": nodes}

    @property
    def _daemons(self) -> Sequence[Daemon]:
        """The daemons that are its nodes."""
        return self.nodes

    # the end

    def stop(self) -> None:
        """Remove all nodes for good, before the session's end does."""
        nodes = self.nodes
        for node in nodes:
            self._members.drop(node)
        self._each(nodes, Node.stop)

    def close(self) -> None:
        """Close its clients."""
        self._members.close()

    def _leave(self) -> None:
        """Leave it to others, before it is closed: as it is, so that they see what failed."""


def _script(change: str, rules: Sequence[str]) -> str:
    """The commands that change the rules of a node's packet filter."""
    return "\n".join(f"iptables --wait {change} {rule} -j DROP" for rule in rules)
