"""`dind_env` follows the process's environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

import pytest

from pytest_dind.hooks.environment import Environment

if TYPE_CHECKING:
    from pytest_dind.daemon.handle import Daemon


class _Daemon:
    """A daemon whose environment is this process's, but for what it takes out."""

    def environment(self) -> dict[str, str]:
        found = {k: v for k, v in os.environ.items() if k != "DOCKER_CONTEXT"}
        return found | {"DOCKER_HOST": "unix:///daemon"}


def test_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fixtures change later is in it, in the same dict; what a test put there stays."""
    monkeypatch.setenv("TAKEN", "out")
    environment = Environment(cast("Daemon", _Daemon()))
    given = environment.given
    given["MINE"] = "stays"
    monkeypatch.setenv("DOCKER_CONFIG", "/config")
    monkeypatch.setenv("DOCKER_CONTEXT", "elsewhere")
    monkeypatch.delenv("TAKEN")
    environment.follow()

    assert given is environment.given
    assert given["DOCKER_CONFIG"] == "/config"
    assert given["DOCKER_HOST"] == "unix:///daemon"
    assert given["MINE"] == "stays"
    assert not {"DOCKER_CONTEXT", "TAKEN"} & given.keys()
