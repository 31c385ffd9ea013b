"""Swarm through a guard that allows it: what the run makes is its own, and goes in the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import docker
import pytest
from docker.errors import APIError

from conftest import NESTED_IMAGE
from pytest_dind import Daemon

from ..support import until
from .guarded import guarded

_SECONDS = 60


def _is_swarm(client: docker.DockerClient) -> bool:
    return bool(client.info()["Swarm"]["NodeID"])


def _make(client: docker.DockerClient) -> None:
    """Make one of each, and wait for the container of the service's task."""
    api: Any = client.api
    api.create_secret("run", b"x")
    api.create_config("run", b"x")
    task = {"ContainerSpec": {"Image": NESTED_IMAGE, "Command": ["sleep", "1000"]}}
    api.create_service(task, name="run")
    until(lambda: len(client.containers.list()) == 1, _SECONDS, "the task's container is seen")


@pytest.fixture
def daemon(dind_factory: Callable[..., Daemon]) -> Daemon:
    """A daemon that no other test has: a swarm is the whole engine's."""
    return dind_factory("swarm")


@pytest.mark.requires_isolation
def test_swarm(daemon: Daemon) -> None:
    """The run's swarm goes with it; of another's swarm goes what the run made, and nothing else."""
    socket = daemon.host.removeprefix("unix://")
    with contextlib.closing(daemon.client()) as engine:
        before = {network.name for network in engine.networks.list()}
        with guarded("swarm", engine=socket) as guard:
            guard.client.swarm.init(advertise_addr="127.0.0.1")
            _make(guard.client)
        assert not _is_swarm(engine)
        assert {network.name for network in engine.networks.list()} == before

        engine.swarm.init(advertise_addr="127.0.0.1")
        api: Any = engine.api
        theirs = api.create_secret("theirs", b"x")
        try:
            with guarded("swarm", engine=socket) as guard:
                _make(guard.client)
                with pytest.raises(APIError, match="a swarm that this run did not join"):
                    guard.client.swarm.leave(force=True)
            assert [secret["ID"] for secret in api.secrets()] == [theirs["ID"]]
            assert [*api.configs(), *api.services()] == []
        finally:
            engine.swarm.leave(force=True)
