"""The daemon in which the tests of Kubernetes have their nodes, and the image of these."""

from __future__ import annotations

import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import Settings

NODE_IMAGE = "pytest-dind/kubernetes:test"


@pytest.fixture(scope="session")
def dind_config(dind_config: Settings) -> Settings:
    """Daemons that have the node image, and a small one for pods."""
    load = [NODE_IMAGE, NESTED_IMAGE]
    return dind_config.replace(mode="dind", image=DAEMON_IMAGE, load=load, scope="worker")
