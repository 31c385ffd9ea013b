"""A gate: a process that has a daemon's unix socket here, where nothing else leads to the daemon.

Each connection goes through a command that the outer engine runs in the daemon's container, and
that connects to the daemon's own socket there. It ends with the container.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from ..lifetime import layout, light
from .config import ForwarderConfig, load
from .tunnel import Tunnels

_BACKLOG = 128


def start(config: ForwarderConfig) -> None:
    """Start the gate of a daemon; its socket is there soon after.

    Args:
        config: As for the daemon's forwarder; `daemon` is where the gate opens.

    Raises:
        OSError: it could not be started.
    """
    process = subprocess.Popen(
        light.command(f"{__package__}.gate", config.dump()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    # It forks the one that stays, and ends.
    process.wait()


def main(text: str) -> None:
    """Pass connections on until the container has ended.

    Args:
        text: The configuration.
    """
    os.umask(0o077)
    config = load(text)
    path = Path(config.home) / layout.SOCKET
    # Without the home, the run has ended meanwhile.
    with contextlib.suppress(FileNotFoundError), socket.socket(socket.AF_UNIX) as listener:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(_BACKLOG)
        if os.fork():
            # Whoever started this goes on once there is a socket.
            return
        with (Path(config.home) / layout.GATE_LOG).open("a") as log:
            os.dup2(log.fileno(), sys.stderr.fileno())
        threading.Thread(target=_end_with_container, args=(config, path), daemon=True).start()
        tunnels = Tunnels(config.engine, config.container)
        while True:
            connection, _ = listener.accept()
            tunnels.serve_socket(connection, layout.SOCKET_IN_CONTAINER)


def _end_with_container(config: ForwarderConfig, path: Path) -> None:
    # An engine that goes away has ended the container, or can't be reached through it any more.
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        config.engine.ask("POST", f"/containers/{config.container}/wait", timeout=None)
    with contextlib.suppress(OSError):
        path.unlink()
    os._exit(0)
