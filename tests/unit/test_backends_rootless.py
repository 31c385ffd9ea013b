"""Engines that run without root: what they lack for daemons is said at the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from pytest_dind import ModeUnavailable, Settings
from pytest_dind.backends import dind, rootless
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime.layout import Home

from ..support import Answer, FakeEngine

_WITHOUT = {
    "SecurityOptions": ["name=seccomp", "name=rootless"],
    "CgroupDriver": "none",
    "CgroupVersion": "1",
}


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"SecurityOptions": None, "CgroupDriver": "none"},
        {**_WITHOUT, "CgroupDriver": "systemd", "CgroupVersion": "2"},
    ],
)
def test_engine_with_control_groups(info: dict[str, Any]) -> None:
    """One that has control groups, or runs as root, is no obstacle."""
    assert rootless.obstacle(info) is None


def test_engine_without_control_groups(short_path: Path) -> None:
    """No daemon is started in which no container could start; the doctor says the same."""
    answers: dict[str, Any] = {
        "GET /info": Answer(body=_WITHOUT),
        "GET /images/docker:dind/json": Answer(body={"Id": "sha256:1", "Config": {}}),
    }
    with FakeEngine(short_path / "s", answers) as fake:
        engine = Engine(fake.host)
        home = Home(short_path / "0123abcd" / "main")
        settings = Settings(image="docker:dind", mount=())
        with pytest.raises(ModeUnavailable) as caught:
            dind.make(engine).start(home, settings, print)
        probe = Mock()
        found = dind.check_thoroughly(engine, probe)
        engine.close()

    text = str(caught.value)
    assert "rootless and has no control groups, so no nested container could start" in text
    assert "Cgroup Driver none, Cgroup Version 1" in text
    assert "--dind-mode socket" in text
    assert found == rootless.obstacle(_WITHOUT)
    assert not probe.mock_calls
