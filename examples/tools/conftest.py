"""What the tools' examples share: a program run as a tool is, and what it needs to be there."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

Run = Callable[..., str]


@pytest.fixture
def run(dind_env: dict[str, str]) -> Run:
    """Run a command with the daemon's environment; its output."""

    def run(*command: str, **options: str) -> str:
        done = subprocess.run(
            command, env=dind_env | options, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def run_python(run: Run) -> Run:
    """Run a Python program, as a suite's own process may be one."""
    return lambda program, *arguments, **options: run(
        sys.executable, "-c", program, *arguments, **options
    )


@pytest.fixture
def docker_cli() -> str:
    """The docker CLI of this machine."""
    return shutil.which("docker") or pytest.skip("the docker CLI is missing (docker-cli)")


def plugin(docker: str, name: str, env: dict[str, str]) -> None:
    """Skip where the docker CLI lacks a plugin."""
    if subprocess.run([docker, name, "version"], env=env, capture_output=True).returncode:
        pytest.skip(f"docker {name} is missing (docker-{name})")


def package(name: str) -> None:
    """Skip where a Python package is missing."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is missing: pip install {name.replace('_', '-')}")
