"""Tools in the suite's own environment: they find the daemon, and all that configures them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_dind import Daemon

_PLUGIN = """#!/bin/sh
[ "$1" != docker-cli-plugin-metadata ] || {
    echo '{"SchemaVersion": "0.1.0", "Vendor": "me", "Version": "1"}'
    exit
}
echo "plugin with $DOCKER_HOST"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a docker config of the test's own, which tools use."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


@pytest.fixture
def cli() -> str:
    """The docker CLI of this machine."""
    found = shutil.which("docker")
    assert found is not None, "docker is missing: python tools/engine.py programs"
    return found


def _output(*command: str, env: dict[str, str]) -> str:
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


def test_other_engines_of_the_environment(
    dind_daemon: Daemon, config: Path, cli: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither variables nor the config's current context lead the CLI to another engine."""
    (config / "config.json").write_text(json.dumps({"currentContext": "nonsense"}))
    for name in ("DOCKER_CONTEXT", "DOCKER_HOST", "DOCKER_API_VERSION", "DOCKER_TLS_VERIFY"):
        monkeypatch.setenv(name, "nonsense")
    found = _output(cli, "version", "--format={{.Server.Version}}", env=dind_daemon.environment())

    assert found.strip() == dind_daemon.version


def test_plugins_of_the_cli(dind_daemon: Daemon, config: Path, cli: str) -> None:
    """A CLI plugin of the user's docker config is found, and led to the daemon."""
    plugin = config / "cli-plugins" / "docker-mine"
    plugin.parent.mkdir()
    plugin.write_text(_PLUGIN)
    plugin.chmod(0o755)
    found = _output(cli, "mine", env=dind_daemon.environment())

    assert found == f"plugin with {dind_daemon.host}\n"
