"""A real registry, Debian's docker-registry: in the container of a daemon, or on this machine."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import Daemon
from pytest_dind.engine.engine import Engine
from pytest_dind.store.contents import Cache

from ..support import until

_START = """
cd "$0"
loader=$(echo ld-*)
[ ! -e "$loader" ] || set -- "./$loader" --library-path .
"$@" ./docker-registry serve config.yml >log 2>&1 &
echo $!
"""


def program() -> list[str]:
    """The registry's program, and what it takes to run it where there is another libc or none."""
    found = shutil.which("docker-registry")
    if found is None:
        pytest.fail(
            "docker-registry is missing: python tools/engine.py programs, and PATH as it says"
        )
    needed = subprocess.run(["ldd", found], capture_output=True, text=True).stdout
    return [found, *re.findall(r"(/\S+) \(0x", needed)]


@contextlib.contextmanager
def registry(
    daemon: Daemon,
    port: int,
    *,
    files: Mapping[str, str] | None = None,
    http: Mapping[str, Any] | None = None,
    **config: Any,
) -> Iterator[None]:
    """Run a registry in a daemon's container.

    Args:
        daemon: The daemon.
        port: The port of the container that it listens on.
        files: Further files that the registry finds beside it, by name.
        http: Further settings of its `http` section.
        config: Further sections of its configuration.
    """
    home = f"/opt/registry-{uuid4().hex}"
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": f"{home}/data"}},
        "http": {"addr": f"0.0.0.0:{port}", **(http or {})},
        **config,
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", dereference=True) as tar:
        for path in program():
            tar.add(path, Path(path).name)
        # JSON is YAML.
        for name, text in {"config.yml": json.dumps(settings), **(files or {})}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    script = 'mkdir -p "$0" && exec tar -x -C "$0"'
    daemon.exec(["sh", "-c", script, home], stdin=packed.getvalue())
    process = daemon.exec(["sh", "-c", _START, home]).stdout.strip()
    try:
        until(lambda: "listening on" in _log(daemon, home), 20, "the registry listens")
        yield
    finally:
        daemon.exec(["sh", "-c", 'kill "$0"; rm -rf "$1"', process, home])


def _log(daemon: Daemon, home: str) -> str:
    text = daemon.exec(["cat", f"{home}/log"]).stdout
    assert "fatal" not in text, text
    return text


@contextlib.contextmanager
def served(program: str, directory: Path) -> Iterator[str]:
    """A registry on this machine's loopback, where engines ask for no certificate."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{found.getsockname()[1]}"
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {"addr": host},
    }
    (directory / "config.yml").write_text(json.dumps(config))
    with (directory / "log").open("w") as log:
        server = subprocess.Popen(
            [program, "serve", str(directory / "config.yml")], stdout=log, stderr=log
        )
    try:
        yield host
    finally:
        server.kill()
        server.wait()


def pushed(engine: Engine, name: str) -> str:
    """Push the nested image; its digest."""
    image = engine.client.images.get(NESTED_IMAGE)
    image.tag(name)
    try:

        def answer() -> str | None:
            events = list(engine.client.images.push(name, stream=True, decode=True))
            # Not from `aux`, which engines with containerd's store do not send.
            said = " ".join(event.get("status", "") for event in events)
            found = re.search(r"digest: (sha256:[0-9a-f]{64})", said)
            return found[1] if found else None

        return str(until(answer, 20, "the registry takes the image"))
    finally:
        engine.client.images.remove(name)


def forget(engine: Engine, name: str) -> None:
    """Remove an image, and its golden root."""
    engine.client.images.remove(name)
    cache = Cache(engine, DAEMON_IMAGE)
    cache.remove([root.key for root in cache.roots()[0] if name in root.images])
