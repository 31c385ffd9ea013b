"""Engines that run without root: whether their containers may make control groups is tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from pytest_dind.backends import dind, rootless
from pytest_dind.backends.probe import LEASE_SEEN, LEASES, LOOK, MOUNT, MOUNTED, ProbeResult
from pytest_dind.engine.engine import Engine

from ..support import Answer, FakeEngine

_DENIED = "mkdir: cannot create directory '/sys/fs/cgroup/pytest-dind-1': Permission denied\n"


def _checked(short_path: Path, info: dict[str, Any], tried: ProbeResult) -> tuple[object, Mock]:
    """What the doctor finds on an engine that tells this; the trial ends like that."""
    usual = ProbeResult(f"=== {MOUNT}\n{MOUNTED}\n=== {LEASES}\n{LEASE_SEEN}\n", ran=True)
    probe = Mock(side_effect=lambda command, **_: usual if command == LOOK else tried)
    with FakeEngine(short_path / "s", {"GET /info": Answer(body=info)}) as fake:
        engine = Engine(fake.host)
        found = dind.check_thoroughly(engine, probe)
        engine.close()
    return found, probe


@pytest.mark.parametrize("driver", ["none", "systemd"])
@pytest.mark.parametrize(
    "tried",
    [ProbeResult("a control group was made\n", ran=True), ProbeResult("no such image", ran=False)],
    ids=["works", "refused"],
)
def test_engine_with_control_groups(short_path: Path, driver: str, tried: ProbeResult) -> None:
    """What the engine calls its driver doesn't count; a container that is refused is told apart."""
    info = {"SecurityOptions": ["name=rootless"], "CgroupDriver": driver}
    found, probe = _checked(short_path, info, tried)
    assert found is None
    assert len(probe.mock_calls) == 2


@pytest.mark.parametrize("driver", ["none", "systemd"])
def test_engine_without_control_groups(short_path: Path, driver: str) -> None:
    """Where a container may make none, no container of a daemon's could start."""
    info = {"SecurityOptions": ["name=seccomp", "name=rootless"], "CgroupDriver": driver}
    found, _ = _checked(short_path, info, ProbeResult(_DENIED, ran=True))
    assert found == rootless.obstacle(_DENIED)


def test_engine_of_root(short_path: Path) -> None:
    """On an engine that runs as root it isn't tried."""
    info = {"SecurityOptions": None, "CgroupDriver": "none"}
    found, probe = _checked(short_path, info, ProbeResult(_DENIED, ran=True))
    assert found is None
    assert len(probe.mock_calls) == 1
