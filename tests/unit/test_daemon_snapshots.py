"""Daemons that no snapshot can be taken of."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_dind import SnapshotFailed
from pytest_dind.daemon import snapshots

_FIT = {"DockerRootDir": "/var/lib/docker", "Driver": "overlay2"}


@pytest.mark.parametrize(
    ("info", "has_cluster", "evidence", "remedy"),
    [
        ({"Swarm": {"LocalNodeState": "active"}}, False, "in a swarm", "docker swarm leave"),
        ({}, True, "The nodes of a Kubernetes cluster are in it.", "--dind-reuse=NAME"),
        ({"Driver": "vfs"}, False, "Its storage driver is vfs", "--dind-arg"),
        ({"DockerRootDir": "/data"}, False, "Its data-root is /data", "Leave it at"),
    ],
    ids=["swarm", "kubernetes", "driver", "root"],
)
def test_unfit(info: dict[str, Any], has_cluster: bool, evidence: str, remedy: str) -> None:
    """What is in the way is told, and what to do."""
    with pytest.raises(SnapshotFailed) as caught:
        snapshots._demand_fit({**_FIT, **info}, "mine", has_cluster=has_cluster)
    assert caught.value.what == "No snapshot 'mine' can be taken of the daemon."
    assert evidence in caught.value.evidence
    assert remedy in caught.value.remedy[0]


def test_fit() -> None:
    """Any other daemon will do."""
    snapshots._demand_fit(_FIT, "mine", has_cluster=False)
