"""What the doctor says of nodes of Kubernetes."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_dind.backends.probe import CGROUPS, CONNTRACK, CONTROLLERS, INOTIFY
from pytest_dind.doctor import clusters, text
from pytest_dind.doctor.clusters import Clusters
from pytest_dind.doctor.kernel import HERE, judge
from pytest_dind.doctor.report import Report
from pytest_dind.doctor.trial import Verdict

_MB = 1 << 20
_V1 = "#subsys_name hierarchy num_cgroups enabled\n" + "\n".join(
    f"{name}\t1\t3\t1" for name in ("cpu", "cpuset", "memory", "pids")
)
_SEEN = {CGROUPS: _V1, CONNTRACK: "65536", INOTIFY: "8192"}


def _text(found: Clusters, mode: str = "dind") -> str:
    verdict = Verdict(mode, works=True)
    report = Report(asked=mode, kernel=judge(HERE, {}), modes=(verdict,), clusters=found)
    return text._clusters(report)


def test_room_for_nodes() -> None:
    """Memory and inotify bound how many nodes there may be; cgroup v1 bounds their version."""
    found = clusters.judge(_SEEN, 1, 740 * _MB)
    assert (found.lacks, found.memory_nodes, found.is_tight) == ((), 4, False)
    assert "nodes can run, 4 of them at the most" in _text(found)
    assert "1.35" in _text(found)
    small = clusters.judge({**_SEEN, INOTIFY: "128"}, 1, 10**12)
    assert (small.inotify_nodes, small.is_tight) == (12, True)
    assert "12 nodes" in _text(small)
    assert "- Raise it there" in _text(small)
    many = clusters.judge({**_SEEN, CONTROLLERS: "cpu cpuset memory pids"}, 2, 10**12)
    assert "64 of them" in _text(many)
    assert "1.35" not in _text(many)


@pytest.mark.parametrize(
    ("changes", "version", "memory", "lacks"),
    [
        ({CGROUPS: _V1.replace("pids\t1\t3\t1", "pids\t1\t3\t0")}, 1, None, "control groups pids"),
        ({CONTROLLERS: "cpu memory"}, 2, None, "control groups cpuset, pids"),
        ({CONNTRACK: None}, 1, None, "nf_conntrack"),
        ({INOTIFY: "20"}, 1, None, "instances of inotify: 20 a user"),
        ({}, 1, 100 * _MB, "memory: 510 MB for a server"),
    ],
)
def test_what_is_missing(
    changes: dict[str, str | None], version: int, memory: int | None, lacks: str
) -> None:
    """Each thing that is missing is named."""
    seen = {name: one for name, one in {**_SEEN, **changes}.items() if one is not None}
    found = clusters.judge(seen, version, memory)
    assert lacks in "".join(found.lacks)
    assert _text(found).startswith("no: the engine's machine lacks")
    assert lacks in _text(found)


def test_nothing_is_known() -> None:
    """Where no container was tried nothing is claimed; in mode socket there are no nodes."""
    found = clusters.judge({}, 2, None)
    assert dataclasses.astuple(found) == ((), 2, None, None, None)
    assert _text(found) == "nothing is known against nodes"
    assert _text(found, "socket").startswith("no: nodes are in a daemon of their own")
