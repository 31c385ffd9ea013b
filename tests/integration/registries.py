"""A real registry, Debian's docker-registry, in the container of a daemon."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pytest_dind import Daemon

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
