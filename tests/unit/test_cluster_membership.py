"""Who leads a swarm, whom it is asked of, and when nobody can any more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError

from pytest_dind import DaemonLost, SwarmFailed
from pytest_dind.cluster import membership
from pytest_dind.cluster.membership import MANAGER, Membership, is_ready


class _Node:
    """A node of a swarm that says what it is told to."""

    def __init__(self, number: int, said: Any) -> None:
        self.name = f"node{number}"
        self.node_id = f"n{number}"
        self.said = said
        self.asked = 0

    @contextlib.contextmanager
    def _connected(self, **how: Any) -> Iterator[Any]:
        yield SimpleNamespace(api=SimpleNamespace(nodes=self._entries))

    def _entries(self) -> Any:
        self.asked += 1
        if isinstance(self.said, Exception):
            raise self.said
        return self.said

    def logs(self, tail: int) -> str:
        return f"the last {tail} lines"


def _entry(number: int, role: str = MANAGER, leads: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "ID": f"n{number}",
        "Spec": {"Role": role},
        "Status": {"State": "ready", **more},
        **(
            {"ManagerStatus": {"Leader": leads, "Reachability": "reachable"}}
            if role == MANAGER
            else {}
        ),
    }


def _three(leader: int) -> list[dict[str, Any]]:
    return [_entry(number, leads=number == leader) for number in (1, 2, 3)]


def _members(*nodes: Any) -> Membership:
    members = Membership("swarm1")
    members._nodes = list(nodes)
    members._managers = [node.node_id for node in nodes]
    return members


_NO_LEADER = APIError("500", explanation="rpc error: The swarm does not have a leader.")
_LOST = DaemonLost("The daemon 'node1' is gone.", remedy=["None."])


def test_leader_is_asked_first() -> None:
    """The leader is found through another manager, and is the one to ask from then on."""
    one, two = _Node(1, _three(2)), _Node(2, _three(2))
    members = _members(one, two, _Node(3, []))
    for _ in range(2):
        look = members.look()
        assert look is not None
        assert look.leader.node_id == two.node_id
    assert (one.asked, two.asked) == (1, 1)


def test_election() -> None:
    """As long as there may be an election, there is no leader, and no error."""
    members = _members(_Node(1, _LOST), _Node(2, _NO_LEADER), _Node(3, _NO_LEADER))
    assert members.look() is None


def test_leader_that_is_gone() -> None:
    """A manager that still takes a lost one for the leader has not heard of it yet."""
    members = _members(_Node(1, []), _Node(2, _three(1)), _Node(3, _three(1)))
    members.drop(members.nodes[0])
    assert members.look() is None


def test_leader_that_is_cut_off() -> None:
    """One that is cut off is not asked, nor believed to lead."""
    one, two, three = _Node(1, _three(1)), _Node(2, _three(1)), _Node(3, _three(3))
    members = _members(one, two, three)
    with members.cut(one):  # type: ignore[arg-type]
        look = members.look()
    assert look is not None
    assert look.leader.node_id == three.node_id
    assert one.asked == 0
    assert not members.is_cut(one)  # type: ignore[arg-type]


def test_too_few_managers() -> None:
    """Where too few are left to elect one, that is said at once, with what each says."""
    members = _members(_Node(1, _LOST), _Node(2, _NO_LEADER), _Node(3, []))
    members.drop(members.nodes[2])
    with pytest.raises(SwarmFailed) as caught:
        members.look_until_there()
    assert caught.value.what == "The swarm 'swarm1' has no leader, and can elect none."
    assert "Of its 3 managers, 1 can be reached; an election takes 2." in caught.value.evidence
    assert "node2: rpc error: The swarm does not have a leader." in caught.value.evidence


def test_no_node_any_more() -> None:
    """A swarm that was stopped is none any more."""
    with pytest.raises(SwarmFailed, match="'swarm1' has no node any more"):
        _members().look()


def test_no_leader_in_time() -> None:
    """An election that does not end is told of."""
    members = _members(_Node(1, _NO_LEADER), _Node(2, _NO_LEADER))
    with pytest.raises(SwarmFailed, match="no leader for 0 s") as caught:
        members.look_until_there(0)
    assert "node1, node2" in caught.value.evidence


def test_not_ready() -> None:
    """A node that does not become Ready is told of as its managers see it, with its log."""
    late = _entry(2, "worker", State="down", Message="heartbeat failure")
    members = _members(_Node(1, [_entry(1, leads=True), late]), _Node(2, []))
    with pytest.raises(SwarmFailed) as caught:
        members.settle(members.nodes, 0)
    assert "The node 'node2' of the swarm 'swarm1' is not Ready after 0 s." in caught.value.what
    assert "see it as down heartbeat failure." in caught.value.evidence
    assert "the last 10 lines" in caught.value.evidence


@pytest.mark.parametrize(
    ("entry", "ready"),
    [
        (_entry(1), True),
        (_entry(1, "worker"), True),
        (_entry(1, "worker", State="down"), False),
        (_entry(1) | {"ManagerStatus": {"Reachability": "unreachable"}}, False),
        (_entry(1) | {"ManagerStatus": None}, False),
    ],
)
def test_ready(entry: dict[str, Any], ready: bool) -> None:
    """A manager is Ready when the other managers reach it, too."""
    assert is_ready(entry) is ready


class _Resumed(_Node):
    """A daemon that an ended run has left, with its address now, and the one its swarm knows."""

    def __init__(self, number: int, said: Any, known: str = "") -> None:
        super().__init__(number, said)
        self.ip = f"172.17.0.{number}"
        self.swarm_ip = known or self.ip

    def state(self) -> Any:
        return {"NodeID": self.node_id, "NodeAddr": self.swarm_ip}

    def addresses(self) -> list[str]:
        return [self.ip]


_WORKER = "worker"


def _left(number: int, role: str, **spec: Any) -> dict[str, Any]:
    entry = _entry(number, role, leads=role == MANAGER)
    return {**entry, "Spec": {"Role": role, "Availability": "active", "Labels": {}, **spec}}


@pytest.mark.parametrize(
    ("changed", "known", "why"),
    [
        ([], "", ""),
        ([_left(3, _WORKER)], "", "it has 3 nodes by now, not its own 2 alone"),
        ([_left(2, MANAGER)], "", "node2 has another role, availability or label by now"),
        ([_left(2, _WORKER, Availability="drain")], "", "node2 has another role"),
        ([_left(2, _WORKER, Labels={"disk": "ssd"})], "", "node2 has another role"),
        ([], "172.17.0.9", "node2 is none of its nodes, or has another address by now"),
    ],
)
def test_taken_up(
    monkeypatch: pytest.MonkeyPatch, changed: list[dict[str, Any]], known: str, why: str
) -> None:
    """A swarm is taken up as it was made, and no other."""
    there = {one["ID"]: one for one in [_left(1, MANAGER), _left(2, _WORKER), *changed]}
    entries = [*there.values()]
    daemons: Any = [_Resumed(1, entries), _Resumed(2, entries, known)]
    monkeypatch.setattr(membership, "node_of", lambda daemon, *known: daemon)
    members = Membership("swarm")
    said = members.resume(daemons, {"node1": MANAGER, "node2": _WORKER})
    assert said.startswith(why)
    assert bool(said) == bool(why)
    if not why:
        assert members.nodes == daemons
        assert members.roles() == {"node1": MANAGER, "node2": _WORKER}
