"""Ends a run whose processes are gone; also a program of its own, which waits for that.

Daemons end with their lease by themselves. What they can't do is left to this process, one for
each run: remove the run's directory, and a container that was created but not started yet. It
imports the standard library alone, so that starting it costs next to nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

LEASE = "lease"
"""The FIFO, in a run's directory and, under the same name, in a daemon's home."""
LOCK = "base.lock"
"""In the directory of all runs: held to begin one and to remove one."""
ENGINE = "engine"
"""In a run's directory: the URL of the outer engine its daemons are on."""
KEPT = "kept"
"""In a daemon's home: it stays when its last user is gone."""

_ENGINE_SECONDS = 30


def spawn(run: Path) -> subprocess.Popen[bytes]:
    """Start the reaper of a run. The process that is returned ends at once; wait for it."""
    return subprocess.Popen(
        # -I and -S: nothing of the user's environment, and nothing installed, is looked at.
        [sys.executable, "-I", "-S", __file__, str(run)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


def finish(run: Path) -> None:
    """Remove all that is left of a run that nobody uses, but for what was kept on purpose."""
    for home in [path for path in run.iterdir() if path.is_dir()] if run.is_dir() else []:
        if not (home / KEPT).exists():
            _remove_container(run, f"pytest-dind-{run.name}-{home.name}")
            shutil.rmtree(home, ignore_errors=True)
    if not any(run.glob(f"*/{KEPT}")):
        shutil.rmtree(run, ignore_errors=True)


def _remove_container(run: Path, name: str) -> None:
    """Remove a container with its volumes, on an engine that has a unix socket."""
    try:
        host = (run / ENGINE).read_text()
    except OSError:
        return
    if not host.startswith("unix://"):
        return
    connection = http.client.HTTPConnection("localhost", timeout=_ENGINE_SECONDS)
    try:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(_ENGINE_SECONDS)
        connection.sock.connect(host.removeprefix("unix://"))
        connection.request("DELETE", f"/containers/{quote(name)}?force=1&v=1")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        # The engine is gone, or no longer answers: the next run's sweep has another go.
        pass
    finally:
        connection.close()


def _main(run: Path) -> None:
    if os.fork():
        # The parent can wait for this process at any time; the other is init's child.
        return
    with contextlib.suppress(FileNotFoundError):
        lease = os.open(run / LEASE, os.O_RDONLY | os.O_NONBLOCK)
        with (run.parent / LOCK).open("a") as lock:
            while True:
                os.set_blocking(lease, True)
                while os.read(lease, 4096):
                    pass
                # Nobody can take up the lease again while the lock is held: a reused daemon's.
                fcntl.flock(lock, fcntl.LOCK_EX)
                os.set_blocking(lease, False)
                try:
                    os.read(lease, 1)
                except BlockingIOError:
                    fcntl.flock(lock, fcntl.LOCK_UN)
                else:
                    finish(run)
                    return


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
