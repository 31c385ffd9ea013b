"""What the figures were taken on: enough to judge them, nothing that names the machine."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version

import docker
from docker.errors import DockerException

from .case import CaseFailed

_PACKAGES = ("pytest-dind", "pytest", "docker")
_PEERS = ("pytest-xdist", "testcontainers", "pytest-docker", "pytest-docker-tools")


def facts(engine: docker.DockerClient, image: str, name: str) -> dict[str, str]:
    """The facts, in the order to show them.

    Args:
        engine: The outer engine.
        image: The daemon's image.
        name: What to call the image.

    Raises:
        CaseFailed: the image has no dockerd.
    """
    info = engine.info()
    size = engine.images.get(image).attrs["Size"]
    return {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "cores": str(os.cpu_count()),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "kernel": platform.release(),
        "engine": info["ServerVersion"],
        "storage driver": info["Driver"],
        "cgroup version": info.get("CgroupVersion", "1"),
        "image": f"{name}, {size / 1e6:.0f} MB",
        "daemon": _daemon(engine, image, name),
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
        **{package: _version(package) for package in _PEERS},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _daemon(engine: docker.DockerClient, image: str, name: str) -> str:
    """What the image's dockerd says it is."""
    container = engine.containers.create(image, ["--version"], entrypoint="dockerd")
    try:
        container.start()
        container.wait()
        return container.logs().decode(errors="replace").strip()
    except DockerException as error:
        raise CaseFailed(f"The image {name} does not run dockerd: {error}") from error
    finally:
        # Not `run(remove=True)`, which leaves the anonymous volume that the image may declare.
        container.remove(force=True, v=True)
