"""The daemon in which the tests of Kubernetes have their nodes, and the image of these."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import Kubernetes, Settings
from pytest_dind.options import from_config
from pytest_dind.runs.factory import Factory
from pytest_dind.settings import AUTO

from .. import rooms
from ..integration.projects import Project
from ..integration.traces import Traces

NODE_IMAGE = "pytest-dind/kubernetes:test"

engine, room, traces = rooms.engine, rooms.room, rooms.traces


@pytest.fixture(scope="session")
def mode(pytestconfig: pytest.Config) -> str:
    """The mode under test: dind, or the one that this run is told, as `--dind-mode sysbox`."""
    asked = from_config(pytestconfig).mode
    return "dind" if asked == AUTO else asked


@pytest.fixture(scope="session")
def dind_config(dind_config: Settings, mode: str) -> Settings:
    """Daemons that have the node image, and a small one for pods; clusters of that image."""
    return dind_config.replace(
        mode=mode,
        image=DAEMON_IMAGE,
        kubernetes_image=NODE_IMAGE,
        load=[NODE_IMAGE, NESTED_IMAGE],
        scope="worker",
    )


@pytest.fixture(scope="session")
def dind_kubernetes(dind_factory: Factory) -> Kubernetes:
    """Three nodes for most tests; a node that is gone is noticed in seconds."""
    return dind_factory.kubernetes(nodes=3, failover="fast", load=[NESTED_IMAGE])


@pytest.fixture
def project(room: Path, mode: str, traces: Traces) -> Iterator[Project]:
    """A project whose tests a pytest run of its own runs, with clusters of the node image."""
    options = ("--dind-image", DAEMON_IMAGE, "--dind-mode", mode)
    with Project(room, *options, "--dind-kubernetes-image", NODE_IMAGE) as project:
        yield project


Apply = Callable[..., None]


@pytest.fixture
def apply(dind_namespace: Any) -> Apply:
    """Apply manifests in the test's namespace."""

    def apply(*manifests: Mapping[str, Any]) -> None:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        dind_namespace.exec(["kubectl", "apply", "-f", "-"], stdin=text)

    return apply


def pod(name: str, *script: str, **spec: Any) -> dict[str, Any]:
    """The manifest of a pod of one container, which runs a script."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": template(*script, **spec),
    }


def template(*script: str, image: str = NESTED_IMAGE, **spec: Any) -> dict[str, Any]:
    """The part of a pod that is its container's."""
    policy = spec.pop("policy", "IfNotPresent")
    container = {"name": "c", "image": image, "imagePullPolicy": policy}
    command = ["sh", "-c", "; ".join(script or ("sleep 600",))]
    return {
        "terminationGracePeriodSeconds": 0,
        "containers": [{**container, "command": command, **spec.pop("container", {})}],
        **spec,
    }


def deployment(name: str, *script: str, replicas: int = 1, **spec: Any) -> dict[str, Any]:
    """The manifest of a deployment of such pods."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template(*script, **spec)},
        },
    }


def service(name: str, **spec: Any) -> dict[str, Any]:
    """The manifest of a service for such pods, with port 80."""
    ports = [{"name": "http", "port": 80}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports, **spec},
    }
