"""Who is in a swarm: its nodes join, change their role, elect a leader, and are lost."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..causes import explained
from ..engine.polling import poll
from ..errors import DaemonLost, DindError, SwarmFailed
from .node import Node, node_of

if TYPE_CHECKING:
    import docker

    from ..daemon.handle import Daemon

PORT = 2377
"""The port at which managers are asked to let a node join: swarm's own default."""
MANAGER, WORKER = "manager", "worker"

_SUBNET_SIZE = 24
# From a heartbeat that is missed three times a manager takes a node for lost: 6 s, not 15 as by
# default, which each test that loses one would wait for.
_HEARTBEAT_NANOSECONDS = 2 * 10**9
# A manager that has lost sight of the leader keeps a question waiting.
_ANSWER_SECONDS = 5
# An election takes 10 s or so.
_SECONDS = 60
# One that is well is so by now, but for an election that its last run has caused.
_RESUME_SECONDS = 15
_POLL_SECONDS = 0.02
_LAST_LINES = 10
# The engine goes on with it.
_LATE = "Timeout was reached before node"


@dataclass(frozen=True)
class Look:
    """The nodes of a swarm, as its managers see them at one time.

    Attributes:
        leader: The manager that leads.
        entries: The nodes, as the engine's API lists them.
    """

    leader: Node
    entries: Sequence[Mapping[str, Any]]

    def entry(self, node_id: str) -> Mapping[str, Any]:
        """What is known of a node; empty where it is none of the swarm's."""
        return next((one for one in self.entries if one["ID"] == node_id), {})

    def ready(self) -> set[str]:
        """The ids of the nodes that are Ready."""
        return {one["ID"] for one in self.entries if is_ready(one)}


def is_ready(entry: Mapping[str, Any]) -> bool:
    """Whether a node is Ready; a manager is when the other managers reach it, too."""
    if (entry.get("Status") or {}).get("State") != "ready":
        return False
    role = entry["Spec"]["Role"]
    return role == WORKER or (entry.get("ManagerStatus") or {}).get("Reachability") == "reachable"


def _is_leader(entry: Mapping[str, Any]) -> bool:
    return bool((entry.get("ManagerStatus") or {}).get("Leader"))


class Membership:
    """The nodes of a swarm; may be used by several threads.

    Args:
        swarm: The swarm's name.
    """

    def __init__(self, swarm: str) -> None:
        self._swarm = swarm
        self._lock = threading.Lock()
        self._nodes: list[Node] = []
        # The ids of the managers as they were last seen, those among them that were killed since.
        self._managers: list[str] = []
        # The ids of the nodes that are cut off from the others.
        self._cut: set[str] = set()
        self._clients: dict[str, docker.DockerClient] = {}

    @property
    def nodes(self) -> list[Node]:
        """The nodes that have joined, and have neither left nor been killed."""
        with self._lock:
            return list(self._nodes)

    def roles(self) -> dict[str, str]:
        """The role of each of these nodes as its managers told it last, by its name."""
        with self._lock:
            return {
                node.name: MANAGER if node.node_id in self._managers else WORKER
                for node in self._nodes
            }

    def client(self, node: Node) -> docker.DockerClient:
        """A client on a node, the same each time."""
        with self._lock:
            if node.node_id not in self._clients:
                self._clients[node.node_id] = node.client()
            return self._clients[node.node_id]

    def close(self) -> None:
        """Close the clients."""
        with self._lock:
            while self._clients:
                self._clients.popitem()[1].close()

    # in and out

    def begin(self, node: Node, pool: str) -> Node:
        """Have a daemon begin the swarm, as its first manager.

        Args:
            node: The daemon.
            pool: The subnet that the swarm's networks take theirs from.

        Returns:
            The node, with its id in the swarm.

        Raises:
            SwarmFailed: it refuses to.
        """
        from docker.errors import APIError

        with node._connected() as client:
            api = client.api
            try:
                api.init_swarm(
                    advertise_addr=node.swarm_ip,
                    listen_addr=f"0.0.0.0:{PORT}",
                    data_path_addr=node.swarm_ip,
                    default_addr_pool=[pool],
                    subnet_size=_SUBNET_SIZE,
                    swarm_spec=api.create_swarm_spec(
                        dispatcher_heartbeat_period=_HEARTBEAT_NANOSECONDS
                    ),
                )
            except APIError as error:
                raise self._refused(node, "can't begin", error) from error
        return self._add(node, MANAGER)

    def admit(self, node: Node, role: str) -> Node:
        """Have a daemon join the swarm.

        Returns:
            The node, with its id in the swarm.

        Raises:
            SwarmFailed: it can't join.
        """
        from docker.errors import APIError

        leader = self.look_until_there().leader
        with leader._connected() as client:
            token = client.api.inspect_swarm()["JoinTokens"][role.capitalize()]
        with node._connected() as client:
            try:
                client.api.join_swarm(
                    [f"{leader.swarm_ip}:{PORT}"],
                    token,
                    listen_addr=f"0.0.0.0:{PORT}",
                    advertise_addr=node.swarm_ip,
                    data_path_addr=node.swarm_ip,
                )
            except APIError as error:
                if _LATE not in str(error):
                    raise self._refused(node, "can't join", error) from error
        return self._add(node, role)

    def _add(self, node: Node, role: str) -> Node:
        node_id = poll(
            lambda: node.state().get("NodeID") or None, seconds=_SECONDS, every=_POLL_SECONDS
        )
        member = dataclasses.replace(node, node_id=node_id or "")
        with self._lock:
            self._nodes.append(member)
            if role == MANAGER:
                self._managers.append(member.node_id)
        return member

    def resume(self, daemons: Sequence[Daemon], roles: Mapping[str, str]) -> str:
        """Take up the swarm that daemons are in, if all is well with it.

        Args:
            daemons: The daemons, all that it is to have.
            roles: The role of each, by its name.

        Returns:
            Why it can't be used; empty where it can.

        Raises:
            DindError: it has no leader, or not all of its nodes are Ready.
        """
        for daemon in daemons:
            state = node_of(daemon).state()
            node = node_of(daemon, state.get("NodeAddr", ""), state.get("NodeID", ""))
            # It was started anew: the others know its old address.
            if node.swarm_ip not in node.addresses():
                return f"{node.name} is none of its nodes, or has another address by now"
            self._nodes.append(node)
            if roles[node.name] == MANAGER:
                self._managers.append(node.node_id)
        entries = {one["ID"]: one for one in self.look_until_there(_RESUME_SECONDS).entries}
        if entries.keys() != {node.node_id for node in self._nodes}:
            return f"it has {len(entries)} nodes by now, not its own {len(daemons)} alone"
        for node in self._nodes:
            spec = entries[node.node_id]["Spec"]
            is_so = spec["Role"], spec.get("Availability"), spec.get("Labels") or {}
            if is_so != (roles[node.name], "active", {}):
                return f"{node.name} has another role, availability or label by now"
        self.settle(self._nodes, _RESUME_SECONDS)
        return ""

    def arrange(self, names: Sequence[str]) -> None:
        """Have the nodes in the order of these names: they have joined as they got ready."""
        with self._lock:
            self._nodes.sort(key=lambda node: names.index(node.name))

    def drop(self, node: Node) -> None:
        """Forget a node that is gone."""
        with self._lock:
            self._nodes = [one for one in self._nodes if one.node_id != node.node_id]
            self._cut.discard(node.node_id)
            client = self._clients.pop(node.node_id, None)
        if client is not None:
            client.close()

    def remove(self, node: Node) -> None:
        """Have a worker leave the swarm; none of its managers knows it then.

        Raises:
            SwarmFailed: there is no leader.
        """
        from docker.errors import APIError

        with node._connected() as client:
            client.api.leave_swarm()
        leader = self.look_until_there().leader
        # It may be gone by itself.
        with leader._connected() as client, contextlib.suppress(APIError):
            client.api.remove_node(node.node_id, force=True)

    @contextlib.contextmanager
    def cut(self, node: Node) -> Iterator[None]:
        """Pass over a node that is cut off, as long as the block lasts: what it says is stale."""
        with self._lock:
            self._cut.add(node.node_id)
        try:
            yield
        finally:
            with self._lock:
                self._cut.discard(node.node_id)

    def is_cut(self, node: Node) -> bool:
        """Whether a node is cut off."""
        return node.node_id in self._cut

    # what the managers say

    def look(self) -> Look | None:
        """What the managers say now; None while they have no leader.

        Raises:
            SwarmFailed: too few managers are left to elect one.
        """
        from docker.errors import APIError
        from requests.exceptions import RequestException

        said: dict[str, str] = {}
        lost = 0
        for node in self._reached_managers():
            try:
                with node._connected(timeout=_ANSWER_SECONDS) as client:
                    entries: list[dict[str, Any]] = client.api.nodes()
            except (APIError, RequestException, DindError) as error:
                lost += isinstance(error, DaemonLost)
                said[node.name] = str(getattr(error, "explanation", "") or error)
                continue
            leaders = [one["ID"] for one in entries if _is_leader(one)]
            leader = next((one for one in self.nodes if one.node_id in leaders), None)
            if leader is not None and not self.is_cut(leader):
                with self._lock:
                    managers = [one["ID"] for one in entries if one["Spec"]["Role"] == MANAGER]
                    # The leader is the one to ask first.
                    self._managers = sorted(managers, key=lambda one: one != leader.node_id)
                return Look(leader, entries)
            said[node.name] = "it knows of no leader that can be reached"
        self._demand_quorum(said, lost)
        return None

    def _reached_managers(self) -> list[Node]:
        with self._lock:
            known = {node.node_id: node for node in self._nodes}
            return [known[one] for one in self._managers if one in known and one not in self._cut]

    def _demand_quorum(self, said: Mapping[str, str], lost: int) -> None:
        if not self.nodes:
            raise SwarmFailed(
                f"The swarm {self._swarm!r} has no node any more.",
                evidence="It was stopped, or its nodes were killed.",
                remedy=["Start another one: dind_factory.swarm()."],
            )
        there, needed = len(said) - lost, len(self._managers) // 2 + 1
        if there >= needed:
            return
        lines = [f"{name}: {text.splitlines()[0]}" for name, text in said.items()]
        raise SwarmFailed(
            f"The swarm {self._swarm!r} has no leader, and can elect none.",
            evidence=f"Of its {len(self._managers)} managers, {there} can be reached; an election "
            f"takes {needed}.\n" + "\n".join(lines),
            remedy=[
                "Start it with more managers, an odd number: of 3 the loss of one is survived, "
                "of 5 that of two.",
                "Lose a worker instead: node.role tells which is one.",
            ],
        )

    def look_until_there(self, seconds: float = _SECONDS) -> Look:
        """What the managers say, once they have a leader.

        Raises:
            SwarmFailed: they have none in time, or can elect none.
        """
        found = poll(self.look, seconds=seconds, every=_POLL_SECONDS)
        if found is None:
            raise SwarmFailed(
                f"The swarm {self._swarm!r} has had no leader for {seconds:g} s.",
                evidence=f"Managers asked: {', '.join(n.name for n in self._reached_managers())}.",
                remedy=[
                    "Look into their logs for why they do not elect one: node.logs().",
                    "Have less run at once on the machine: an election needs answers in time.",
                ],
            )
        return found

    def settle(self, nodes: Sequence[Node], seconds: float = _SECONDS) -> None:
        """Wait until these nodes are Ready.

        Raises:
            SwarmFailed: one of them isn't in time.
        """
        wanted = {node.node_id for node in nodes}
        last: Look | None = None

        def look() -> bool | None:
            nonlocal last
            last = self.look() or last
            return (last is not None and wanted <= last.ready()) or None

        if not poll(look, seconds=seconds, every=_POLL_SECONDS):
            ready = last.ready() if last else set()
            late = next(node for node in nodes if node.node_id not in ready)
            entry = last.entry(late.node_id) if last else {}
            raise self._not_ready(late, f"is not Ready after {seconds:g} s", entry)

    def set_role(self, node: Node, role: str) -> None:
        """Make a manager of a worker, or the other way round, and wait until it is one.

        Raises:
            SwarmFailed: the managers refuse to, or it takes too long.
        """
        said = ""

        def attempt() -> bool | None:
            nonlocal said
            look = self.look()
            entry = look.entry(node.node_id) if look else {}
            if look is None or not entry:
                return None
            if entry["Spec"]["Role"] == role:
                return (is_ready(entry) and node.role == role) or None
            said = self._ask_for_role(look.leader, entry, role)
            return None

        if not poll(attempt, seconds=_SECONDS, every=_POLL_SECONDS):
            look = self.look()
            entry = look.entry(node.node_id) if look else {}
            raise self._not_ready(node, f"is no {role} after {_SECONDS} s", entry, said)

    def _ask_for_role(self, leader: Node, entry: Mapping[str, Any], role: str) -> str:
        """Ask for a node's role; gives what is said against it, such as that it has changed."""
        from docker.errors import APIError

        with leader._connected() as client:
            api: Any = client.api
            try:
                spec = {**entry["Spec"], "Role": role}
                api.update_node(entry["ID"], entry["Version"]["Index"], spec)
            except APIError as error:
                return str(error.explanation or error)
        return ""

    # errors

    def _refused(self, node: Node, what: str, error: Any) -> SwarmFailed:
        return explained(
            SwarmFailed(
                f"The daemon {node.name!r} {what} the swarm {self._swarm!r}.",
                evidence=f"{error.explanation or error}\n{_last_lines(node)}",
                remedy=[
                    "Leave out arguments of dockerd that do not go with a swarm, such as "
                    "--live-restore.",
                    "Look in its log lines for the cause.",
                ],
            )
        )

    def _not_ready(
        self, node: Node, what: str, entry: Mapping[str, Any], said: str = ""
    ) -> SwarmFailed:
        status = entry.get("Status") or {}
        told = f"{status.get('State', 'unknown')} {status.get('Message', '')}".strip()
        reach = (entry.get("ManagerStatus") or {}).get("Reachability")
        seen = f"Its managers see it as {told}{f', {reach}' if reach else ''}."
        return explained(
            SwarmFailed(
                f"The node {node.name!r} of the swarm {self._swarm!r} {what}.",
                evidence="\n".join(filter(None, [seen, said, _last_lines(node)])),
                remedy=[
                    "Look in its log lines for the cause.",
                    "Have fewer nodes, or less that runs beside them: dind_factory.swarm(nodes=2).",
                ],
            )
        )


def _last_lines(node: Node) -> str:
    """The last lines of a node's log; empty where that is gone."""
    with contextlib.suppress(DindError, OSError):
        return f"Its last log lines:\n{node.logs(_LAST_LINES)}"
    return ""
