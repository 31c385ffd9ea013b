"""What is saved of a cluster, for a process that takes it up."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_dind.kubernetes import boxes, saved
from pytest_dind.kubernetes.adapters.adapter import Plan
from pytest_dind.kubernetes.membership import Members
from pytest_dind.lifetime import layout
from pytest_dind.lifetime.layout import Home
from pytest_dind.runs import sweep

_PLAN = Plan(IPv4Network("10.214.0.0/24"), ["front"], "s3cret", "fast")


def test_round_trip(tmp_path: Path) -> None:
    """It is read as it was written, by nobody else, and the sweep's list says what it is."""
    saved.write(tmp_path, _PLAN)
    assert saved.read(tmp_path) == _PLAN
    assert (tmp_path / layout.CLUSTER).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [layout.CLUSTER]
    assert sweep.cluster_of(tmp_path) == "kubernetes"


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"kind": "swarm"}', '{"plan": {}}'])
def test_unreadable(tmp_path: Path, content: str | None) -> None:
    """What is not there, or of another version, is none."""
    if content is not None:
        (tmp_path / layout.CLUSTER).write_text(content)
    assert saved.read(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("server", True), ("agent12", True), ("agent", False), ("agentx", False), ("pensive", False)],
)
def test_nodes(name: str, is_one: bool) -> None:
    """The containers of nodes are told from those that lead to services by their names."""
    assert boxes.is_node(name) is is_one


class _Daemon:
    """A daemon with containers on the network of the nodes."""

    name = "k8s"

    def __init__(self, home: Path, *boxes: tuple[str, str]) -> None:
        self.record = SimpleNamespace(home=Home(home))
        self.boxes = boxes

    def _connected(self) -> _Daemon:
        return self

    def __enter__(self) -> Any:
        listed = [{"Names": [f"/{n}"], "Id": n, "State": state} for n, state in self.boxes]
        return SimpleNamespace(api=SimpleNamespace(containers=lambda **how: listed))

    def __exit__(self, *error: object) -> None:
        pass


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ([], "its nodes are gone"),
        ([("server", "running")], "its nodes are server"),
        ([("server", "running"), ("agent2", "running")], "its nodes are agent2, server"),
        ([("server", "running"), ("agent1", "paused")], "its node agent1 is paused"),
        ([("server", "running"), ("agent1", "running"), ("x", "dead")], "its kubeconfig is gone"),
    ],
)
def test_cluster_that_is_no_good(tmp_path: Path, found: list[Any], why: str) -> None:
    """A cluster is taken up with the very nodes that are asked for, all of them running."""
    daemon: Any = _Daemon(tmp_path, *found)
    members = Members(daemon, "node:1", cast(Any, None), "default", 60)
    assert members.resume(_PLAN, 2, alone=True) == why
