"""The engine, and what the daemons of each version have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import Settings
from pytest_dind.engine.engine import Engine

from ..integration import registries


@pytest.fixture(scope="session")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A name of the nested image by its digest, which a registry gave it that is no more."""
    with contextlib.closing(Engine()) as engine:
        with registries.served(
            registries.program()[0], tmp_path_factory.mktemp("registry")
        ) as host:
            name = f"{host}/mine/pinned:1"
            name = f"{name}@{registries.pushed(engine, name)}"
            engine.client.api.pull(name)
        yield name
        registries.forget(engine, name)


@pytest.fixture(scope="session")
def dind_config(dind_config: Settings, pinned: str) -> Settings:
    """A daemon that begins with the nested image, by a tag and by a digest."""
    if dind_config.image == Settings.image:
        dind_config = dind_config.replace(image=DAEMON_IMAGE)
    return dind_config.replace(mode="dind", load=(NESTED_IMAGE, pinned))
