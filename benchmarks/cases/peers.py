"""What people use today: each as its documentation has it, and with its best settings."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import docker

from ..case import Bench, Case, CaseSkipped, Sample
from ..processes import suite

_RYUK = "testcontainers/ryuk"


def _need(package: str) -> None:
    if find_spec(package) is None:
        raise CaseSkipped(f"{package} is not installed (pip install --group benchmarks)")


def _testcontainers(bench: Bench, *, settings: str) -> Sample:
    _need("testcontainers")
    variables = {"TESTCONTAINERS_RYUK_DISABLED": "true"}
    if settings == "defaults" and _has_ryuk():
        variables = {}
    return suite(bench, f"test_testcontainers.py::test_start[{settings}]", variables=variables)


def _has_ryuk() -> bool:
    client = docker.from_env()
    try:
        return bool(client.images.list(_RYUK))
    finally:
        client.close()


def _pytest_docker(bench: Bench, *, settings: str) -> Sample:
    _need("pytest_docker")
    plugin = ["docker", "compose", "version"]
    if not shutil.which("docker-compose") and (
        not shutil.which("docker") or subprocess.run(plugin, capture_output=True).returncode
    ):
        raise CaseSkipped("neither `docker compose` nor docker-compose is installed")
    return suite(bench, f"test_pytest_docker.py::test_start[{settings}]", "-p", "pytest_docker")


def _pytest_docker_tools(bench: Bench, *, settings: str) -> Sample:
    _need("pytest_docker_tools")
    test = f"test_pytest_docker_tools.py::test_start[{settings}]"
    return suite(bench, test, "-p", "pytest_docker_tools.plugin")


def _pair(name: str, sample: Callable[..., Sample], defaults: str, best: str) -> tuple[Case, Case]:
    figures = {"start": None, "teardown": None}
    return (
        Case(
            name=name,
            about=f"{defaults} dockerd is told to do without TLS, for which it would take longer.",
            sample=partial(sample, settings="defaults"),
            figures=figures,
            floor="floor",
            peer=True,
        ),
        Case(
            name=f"{name}-best",
            about=best,
            sample=partial(sample, settings="best"),
            figures=figures,
            floor="floor",
        ),
    )


CASES = (
    *_pair(
        "testcontainers",
        _testcontainers,
        "testcontainers-python's generic container with an exposed port, waiting for dockerd's log "
        "line. Where the image of its reaper, Ryuk, is not on the engine, it is left out, which "
        "saves it a container.",
        "The same with a unix socket in a volume mapping, a poll interval of 10 ms, and without "
        "Ryuk.",
    ),
    *_pair(
        "pytest-docker",
        _pytest_docker,
        "pytest-docker with a service of a compose file, a published port, and its documentation's "
        "pause of 0.1 s.",
        "The same with a unix socket in a volume, a pause of 10 ms, and a stop without grace.",
    ),
    *_pair(
        "pytest-docker-tools",
        _pytest_docker_tools,
        "pytest-docker-tools' container factory with a published port.",
        "The same with a unix socket in a volume, and no port, which it would wait for by looking "
        "once a second.",
    ),
)
