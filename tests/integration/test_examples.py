"""The tools' examples, run in an environment that means harm to them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind.engine import Engine

_ROOT = Path(__file__).parents[2]
_NOWHERE = "http://127.0.0.1:9"
_HOSTILE = {
    "DOCKER_HOST": "tcp://127.0.0.1:9",
    "DOCKER_CONTEXT": "no-such-context",
    "DOCKER_API_VERSION": "1.24",
    "DOCKER_TLS_VERIFY": "1",
    "DOCKER_CERT_PATH": "/no/such/certificates",
    "DOCKER_CONFIG": "/no/such/config",
    "DOCKER_DEFAULT_PLATFORM": "linux/s390x",
    "BUILDX_BUILDER": "no-such-builder",
    "BUILDKIT_HOST": "tcp://127.0.0.1:9",
    "TESTCONTAINERS_HOST_OVERRIDE": "192.0.2.1",
    "REQUESTS_CA_BUNDLE": "/no/such/bundle.pem",
    "HTTP_PROXY": _NOWHERE,
    "HTTPS_PROXY": _NOWHERE,
    "ALL_PROXY": _NOWHERE,
    "http_proxy": _NOWHERE,
    "https_proxy": _NOWHERE,
}


def test_tools_in_a_hostile_environment(engine: Engine, mode: str) -> None:
    """Each tool finds the daemon, whatever is inherited that leads elsewhere.

    None of them is missing: `tools/engine.py programs` brings those that no Python package is.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-v", "-rs", "-p", "no:cacheprovider"),
            *("--dind-mode", mode, "--dind-host", engine.url, "--dind-image", DAEMON_IMAGE),
            *("--dind-load", NESTED_IMAGE, "--dind-leaks", "fail", "examples/tools"),
        ],
        cwd=_ROOT,
        env={**os.environ, **_HOSTILE},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tools = sorted(path.stem for path in (_ROOT / "examples" / "tools").glob("test_*.py"))
    ran = re.findall(r"(\w+)\.py::\S+ PASSED", done.stdout)
    assert sorted(set(ran)) == tools, done.stdout
    assert "SKIPPED" not in done.stdout, done.stdout
