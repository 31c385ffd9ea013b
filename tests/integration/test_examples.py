"""The tools' examples, run in an environment that means harm to them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind.engine.engine import Engine

from .other import OtherHost

# The other host takes seconds to make: one worker has all that use it.
pytestmark = pytest.mark.xdist_group("other")

_ROOT = Path(__file__).parents[2]
_NOWHERE = "http://127.0.0.1:9"
_HOSTILE = {
    "DOCKER_HOST": "tcp://127.0.0.1:9",
    "DOCKER_CONTEXT": "no-such-context",
    "DOCKER_API_VERSION": "1.24",
    "DOCKER_TLS_VERIFY": "1",
    "DOCKER_CERT_PATH": "/no/such/certificates",
    "BUILDX_BUILDER": "no-such-builder",
    "CONTAINER_HOST": "tcp://127.0.0.1:9",
    "BUILDKIT_HOST": "tcp://127.0.0.1:9",
    "TESTCONTAINERS_HOST_OVERRIDE": "192.0.2.1",
    "REQUESTS_CA_BUNDLE": "/no/such/bundle.pem",
    "HTTP_PROXY": _NOWHERE,
    "HTTPS_PROXY": _NOWHERE,
    "ALL_PROXY": _NOWHERE,
    "http_proxy": _NOWHERE,
    "https_proxy": _NOWHERE,
}


def _ran(*options: str, env: Mapping[str, str]) -> set[str]:
    """Run the tools' examples; the names of those that passed. None is skipped."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-v", "-rs", "-p", "no:cacheprovider"),
            *("--dind-image", DAEMON_IMAGE, "--dind-load", NESTED_IMAGE, "--dind-leaks", "fail"),
            *(*options, "examples/tools"),
        ],
        cwd=_ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SKIPPED" not in done.stdout, done.stdout
    return set(re.findall(r"(\w+)\.py::\S+ PASSED", done.stdout))


# The guard refuses what buildx needs.
# Compose and buildx make control groups in their own ways.
@pytest.mark.cgroups
@pytest.mark.requires_isolation
def test_tools_in_a_hostile_environment(engine: Engine, mode: str, tmp_path: Path) -> None:
    """Each tool finds the daemon, whatever is inherited that leads elsewhere.

    None of them is missing: `tools/engine.py programs` brings those that no Python package is.
    """
    tools = {path.stem for path in (_ROOT / "examples" / "tools").glob("test_*.py")}
    # Tools write to their configuration, which is the user's own; here there is none yet.
    env = {**_HOSTILE, "DOCKER_CONFIG": str(tmp_path / "config")}
    assert _ran("--dind-mode", mode, "--dind-host", engine.url, env=env) == tools


def test_tools_over_tls(other: OtherHost) -> None:
    """Each finds a daemon on an engine elsewhere, too, with its certificates."""
    tools = {path.stem for path in (_ROOT / "examples" / "tools").glob("test_*.py")}
    assert _ran("--dind-mode", "dind", env=other.env) == tools
