"""An engine that is reached by ssh: a server of the tests' own, and the machine's own client."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from ..support import until
from . import sshd

_MISSING = "the ssh client is missing: python tools/engine.py programs"
# The user's own configuration says which key to use, as on any machine; ssh itself looks for it in
# the home directory that the system knows.
_CONFIG = """\
Host *
    IdentityFile {path}/client
    IdentitiesOnly yes
    UserKnownHostsFile {path}/known
    GlobalKnownHostsFile /dev/null
"""


class Machine(Protocol):
    """A machine with an engine.

    Attributes:
        address: Its address.
        socket: Its engine's socket, by the path that it has on this machine.
        pid: A process in its network.
    """

    address: str
    socket: Path
    pid: int


class Ssh:
    """An ssh server on a machine, and the ssh client with a configuration that leads there.

    Attributes:
        url: The machine's engine.
        path: The directory of keys, configuration and client.
    """

    def __init__(self, machine: Machine, path: Path) -> None:
        self.path = path
        self._machine = machine
        # In the machine's network, where the daemons' ports are published too.
        self._server = subprocess.Popen(
            [
                *("nsenter", f"--net=/proc/{machine.pid}/ns/net"),
                *(sys.executable, sshd.__file__, str(path), machine.address),
            ],
        )

    def configure(self) -> None:
        """Wait for the server, and have the client know it and its key."""
        client = shutil.which("ssh")
        assert client, _MISSING
        machine, path = self._machine, self.path
        until(lambda: (path / sshd.PORT).exists(), 20, "the ssh server listens")
        port = (path / sshd.PORT).read_text()
        key = (path / f"{sshd.HOST}.pub").read_text()
        (path / "known").write_text(f"[{machine.address}]:{port} {key}")
        (path / "config").write_text(_CONFIG.format(path=path))
        (path / "bin").mkdir()
        (path / "bin" / "ssh").write_text(f'#!/bin/sh\nexec {client} -F {path}/config "$@"\n')
        (path / "bin" / "ssh").chmod(0o755)
        self.url = f"ssh://someone@{machine.address}:{port}{machine.socket}"

    @property
    def search_path(self) -> str:
        """PATH with the configured client."""
        return f"{self.path / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def end(self) -> None:
        """End the server."""
        self._server.kill()
        self._server.wait()
