"""What a Kubernetes cluster is asked to be, and what can't be had."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_dind import KubernetesFailed, SettingsError
from pytest_dind.engine import meminfo
from pytest_dind.runs import clusters

_IMAGE = "rancher/k3s:v1"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((0, _IMAGE, "fast"), "kubernetes: nodes=0 is not a valid value"),
        ((True, _IMAGE, "fast"), "kubernetes: nodes=True is not a valid value"),
        ((65, _IMAGE, "fast"), "kubernetes: 65 nodes can't be had"),
        ((1, 3, "fast"), "kubernetes: image=3 is not a valid value"),
        ((1, "Rancher", "fast"), "kubernetes: image='Rancher' is not a valid value"),
        ((1, _IMAGE, "slow"), "kubernetes: failover='slow' is not a valid value"),
    ],
)
def test_arguments(given: tuple[Any, ...], text: str) -> None:
    """What is no cluster is told at the call."""
    with pytest.raises(SettingsError) as caught:
        clusters.demand(given[0], given[1], given[2], {})
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("image", "version", "found"),
    [
        ("rancher/k3s:v1.34.9-k3s1", "", "rancher/k3s:v1.34.9-k3s1"),
        ("rancher/k3s:v1.34.9-k3s1", "1.33.4", "rancher/k3s:v1.33.4-k3s1"),
        ("rancher/k3s", "v1.33.4", "rancher/k3s:v1.33.4-k3s1"),
        ("host:5000/k3s@sha256:0", "1.33.4", "host:5000/k3s:v1.33.4-k3s1"),
        ("own/node:1", "", "own/node:1"),
    ],
)
def test_version(image: str, version: str, found: str) -> None:
    """A version is one of k3s' tags."""
    assert clusters.image_of(image, version) == found


@pytest.mark.parametrize(
    ("image", "version", "text"),
    [
        ("rancher/k3s", "1.33", "version='1.33' is not a valid value"),
        ("rancher/k3s", 1.33, "version=1.33 is not a valid value"),
        ("own/node:1", "1.33.4", "version='1.33.4' can't be had of the image 'own/node:1'"),
    ],
)
def test_no_version(image: str, version: Any, text: str) -> None:
    """What is no version, or of an unknown image, is told at the call."""
    with pytest.raises(SettingsError) as caught:
        clusters.image_of(image, version)
    assert text in str(caught.value)


def test_most() -> None:
    """The most nodes are those that each node has routes to."""
    clusters.demand(64, _IMAGE, "default", {})


def test_mode() -> None:
    """A mode is checked as a text at the call."""
    with pytest.raises(SettingsError, match="kubernetes: mode=3 is not a valid value"):
        clusters.demand(1, _IMAGE, "default", {"mode": 3})


def test_mode_socket() -> None:
    """Nodes are privileged, and the outer engine has none of them."""
    with pytest.raises(SettingsError, match="cluster can't be had in mode socket") as caught:
        clusters.demand_room(SimpleNamespace(unshared=""), 3, "socket", "")  # type: ignore[arg-type]
    assert "requires_isolation" in str(caught.value)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An engine on this machine, of whose memory just enough for three nodes is available."""
    monkeypatch.setattr(meminfo, "PATH", tmp_path / "meminfo")
    meminfo.PATH.write_text(f"MemAvailable: {650 << 10} kB\n")
    return SimpleNamespace(unshared="")


def test_memory(engine: Any) -> None:
    """Too little memory is said before anything is started, with how many nodes there may be."""
    clusters.demand_room(engine, 3, "dind", "")
    with pytest.raises(KubernetesFailed) as caught:
        clusters.demand_room(engine, 4, "dind", "")
    assert caught.value.what == "A cluster of 4 nodes takes more memory than there is."
    assert "720 MB in all; available on this machine: 650 MB" in caught.value.evidence
    assert "kubernetes(nodes=3)" in caught.value.remedy[0]


def test_memory_for_none(engine: Any) -> None:
    """Where there is too little for one node, no fewer are proposed."""
    meminfo.PATH.write_text(f"MemAvailable: {500 << 10} kB\n")
    with pytest.raises(KubernetesFailed, match="A cluster of 1 node takes more") as caught:
        clusters.demand_room(engine, 1, "dind", "")
    assert "nodes=" not in str(caught.value.remedy)


def test_limit(engine: Any) -> None:
    """The limit of the daemon counts where it is lower."""
    clusters.demand_room(engine, 3, "dind", "1g")
    with pytest.raises(KubernetesFailed, match="by --dind-memory the daemon has: 600 MB") as caught:
        clusters.demand_room(engine, 3, "dind", "600m")
    assert caught.value.remedy[-1] == "Raise the limit: --dind-memory, above 650m."
