"""How the conformance table names an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dind.conformance import examination
from pytest_dind.engine.engine import Engine

from ..support import Answer, FakeEngine


@pytest.mark.parametrize(
    ("version", "info", "described"),
    [
        (
            {"Version": "26.1.5+dfsg1", "Components": [{"Name": "Engine", "Version": "26.1.5"}]},
            {"SecurityOptions": ["name=rootless", "name=cgroupns"], "CgroupVersion": "2"},
            "Docker 26.1.5 (rootless, cgroup v2)",
        ),
        (
            {"Version": "28.5.2"},
            {
                "SecurityOptions": ["name=userns"],
                "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
            },
            "Docker 28.5.2 (userns-remap, containerd store, cgroup v1)",
        ),
        (
            {"Version": "5.4", "Components": [{"Name": "Podman Engine", "Version": "5.4"}]},
            {"CgroupVersion": "2"},
            "Podman 5.4 (cgroup v2)",
        ),
    ],
)
def test_description(short_path: Path, version: object, info: object, described: str) -> None:
    """An engine's row says its product, its version, and what is special about it."""
    answers = {"GET /version": Answer(body=version), "GET /info": Answer(body=info)}
    with FakeEngine(short_path / "e", answers) as fake:
        assert examination.describe(Engine(fake.host)) == described
