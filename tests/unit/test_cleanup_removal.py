"""What a test made of images and build cache, by what the daemon's API says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docker
import pytest

from pytest_dind.cleanup.removal import ImageSnapshot

from ..support import Answer, FakeEngine


@pytest.mark.parametrize(
    "usage",
    [
        {"BuildCache": [{"ID": "one"}, {"ID": "two"}]},
        {"BuildCacheUsage": {"Items": [{"ID": "one"}, {"ID": "two"}]}},
        {"BuildCache": None, "BuildCacheUsage": {"Items": [{"ID": "one"}, {"ID": "two"}]}},
    ],
    ids=["up to API 1.51", "from 1.53 on", "1.52"],
)
def test_build_cache(short_path: Path, usage: dict[str, Any]) -> None:
    """The build cache is found where each version of the API has it."""
    with FakeEngine(short_path / "d", {"GET /system/df": Answer(body=usage)}) as engine:
        client = docker.DockerClient(base_url=engine.host, version="1.51")
        try:
            assert ImageSnapshot.take(client, cache=True).cache == {"one", "two"}
        finally:
            client.close()
