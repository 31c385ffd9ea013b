"""Tools in the suite's own environment: they find the daemon, and all that configures them."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from pytest_dind import Daemon

from .conftest import StartDaemon

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


class _Proxy(threading.Thread):
    """A proxy on all addresses of this machine that answers nonsense, and notes what it is asked.

    Attributes:
        port: Its port.
        asked: The first line of each request.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._server = socket.create_server(("", 0))
        self.port = self._server.getsockname()[1]
        self.asked: list[str] = []

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                with connection:
                    connection.settimeout(5)
                    with contextlib.suppress(TimeoutError):
                        self.asked.append(connection.recv(4096).decode().partition("\r\n")[0])
                    connection.sendall(b"220 mail.example ESMTP\r\n")

    def close(self) -> None:
        # Closing it alone would not wake `accept`.
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.join()


@pytest.mark.requires_isolation
def test_proxies(
    start: StartDaemon,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The daemon pulls through the process's proxy, also on loopback; others don't slip in."""
    nowhere = "http://127.0.0.1:9"
    proxies = {"default": {"httpProxy": nowhere, "httpsProxy": nowhere, "noProxy": "slipped.in"}}
    (config / "config.json").write_text(json.dumps({"proxies": proxies}))
    proxy = _Proxy()
    proxy.start()
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, nowhere)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://localhost:{proxy.port}")
    monkeypatch.setenv("MINE", "value")
    try:
        daemon = start(env=["MINE", "OTHER=x y"]).daemon
        assert daemon.container is not None
        image = "registry.example/thing"
        with pytest.raises(subprocess.CalledProcessError) as caught:
            daemon.exec(["docker", "pull", image])
    finally:
        proxy.close()

    gateway = daemon.container.attrs["NetworkSettings"]["Networks"]["bridge"]["Gateway"]
    found = dict(line.split("=", 1) for line in daemon.exec(["env"]).stdout.splitlines())
    assert "HTTP_PROXY" not in found
    assert found["HTTPS_PROXY"].endswith(f":{proxy.port}")
    assert {daemon.name, "127.0.0.0/8"} <= set(found["NO_PROXY"].split(","))
    assert nowhere not in found.values()
    assert "slipped.in" not in found["NO_PROXY"]
    assert (found["MINE"], found["OTHER"]) == ("value", "x y")
    assert "HTTP_PROXY of this process's environment, 127.0.0.1:9, is left out" in (
        capsys.readouterr().out
    )
    # The first is empty: whether it listens where containers reach it.
    assert proxy.asked[1].startswith("CONNECT registry.example:443 ")
    assert "malformed HTTP status" in str(caught.value)
    answered = f"This may be the answer of the daemon's proxy: HttpsProxy http://{gateway}:"
    assert answered in str(caught.value)
