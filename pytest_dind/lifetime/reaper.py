"""Ends a run whose processes are gone; also a program of its own, which waits for that.

Daemons end with their lease by themselves. What they can't do is left to this process, one for
each run: remove the run's directory, and a container that was created but not started yet. It
imports the standard library alone, so that starting it costs next to nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

LEASE = "lease"
"""The FIFO, in a run's directory and, under the same name, in a daemon's home."""
LOCK = "base.lock"
"""In the directory of all runs: held to begin one and to remove one."""
ENGINE = "engine"
"""In a daemon's home: the URL of the outer engine that it is on."""
KEPT = "kept"
"""In a daemon's home: it stays when its last user is gone."""

SOCKET = "docker.sock"
"""The daemon's socket, in its home."""
GUARD = "guard"
"""In a daemon's home: locked by its guard, a process; there until its tests' objects are gone."""
STATE = "state.json"
"""In a daemon's home, from when it is ready: what the run's other processes must know of it."""

NETWORK = "network"
"""In a run's directory: the URLs of the engines that have its network, or soon will, one a line."""

_ENGINE_SECONDS = 30
# A daemon that hangs is not waited for, since it is to go.
_THAW_SECONDS = 1
# A container that the engine makes later than that is left to the next run's sweep.
_LATE_SECONDS = 3
_POLL_SECONDS = 0.05


@contextlib.contextmanager
def watching(run: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the reaper of a run, whose directory is to be made in this context.

    It is there before the directory is, so that a kill at any moment leaves none. The process
    that is returned ends at once; wait for it.
    """
    process = subprocess.Popen(
        # -I and -S: nothing of the user's environment, and nothing installed, is looked at.
        [sys.executable, "-I", "-S", __file__, str(run)],
        # Its end tells the reaper that the run is made, or that who was to make it is gone.
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        yield process
    except BaseException:
        process.stdin.close()
        process.wait()
        raise
    process.stdin.close()


def finish(run: Path) -> list[tuple[str, str]]:
    """Remove all that is left of a run that nobody uses, but for what was kept on purpose.

    Returns:
        The containers that are not there, but may be soon, each after its engine's URL: their
        starter is gone, but the engine finishes a request also for a client that is gone.
    """
    late = []
    for home in [path for path in run.iterdir() if path.is_dir()] if run.is_dir() else []:
        # A guard removes its tests' objects, and then its home; if it was killed, the sweep does.
        if not (home / KEPT).exists() and not (home / GUARD).exists():
            name = f"pytest-dind-{run.name}-{home.name}"
            engine = engine_of(home)
            thaw(home)
            if not _remove_container(engine, name) and not (home / STATE).exists():
                late.append((engine, name))
            shutil.rmtree(home, ignore_errors=True)
    for engine in _read(run / NETWORK).splitlines():
        _delete(engine, f"/networks/{quote(network(run))}")
    if not any([*run.glob(f"*/{KEPT}"), *run.glob(f"*/{GUARD}")]):
        shutil.rmtree(run, ignore_errors=True)
    return late


def network(run: Path) -> str:
    """The name of a run's network, the same on each outer engine that has one."""
    return f"pytest-dind-{run.name}"


def engine_of(home: Path) -> str:
    """The URL of the engine that a daemon is on; empty where none was asked for it yet."""
    return _read(home / ENGINE)


def _read(note: Path) -> str:
    """What a note says; empty where there is none."""
    try:
        return note.read_text()
    except OSError:
        return ""


def _remove_container(engine: str, name: str) -> bool:
    """Remove a container with its volumes, on an engine that has a unix socket; whether it was."""
    return _delete(engine, f"/containers/{quote(name)}?force=1&v=1")


def _delete(engine: str, path: str) -> bool:
    """Remove something on an engine that has a unix socket; whether it was there."""
    status, _ = _ask(engine, "DELETE", path, _ENGINE_SECONDS)
    # A conflict: the engine is removing it already.
    return status in (http.HTTPStatus.NO_CONTENT, http.HTTPStatus.CONFLICT)


def thaw(home: Path) -> None:
    """Unpause all in a daemon that is about to go.

    With cgroup v1 what is frozen can't be killed, and so neither can the container that it is in.
    """
    daemon = f"unix://{home / SOCKET}"
    filters = quote(json.dumps({"status": ["paused"]}))
    _, answer = _ask(daemon, "GET", f"/containers/json?filters={filters}", _THAW_SECONDS)
    with contextlib.suppress(ValueError, TypeError, KeyError):
        for paused in json.loads(answer):
            _ask(daemon, "POST", f"/containers/{paused['Id']}/unpause", _THAW_SECONDS)


def _ask(engine: str, method: str, path: str, seconds: float) -> tuple[int, bytes]:
    """Ask an engine that has a unix socket; its status and answer, 0 where there is none."""
    if not engine.startswith("unix://"):
        return 0, b""
    connection = http.client.HTTPConnection("localhost", timeout=seconds)
    try:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(seconds)
        connection.sock.connect(engine.removeprefix("unix://"))
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        # The engine is gone, or no longer answers: the next run's sweep has another go.
        return 0, b""
    finally:
        connection.close()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock at `path`, as filelock does in the test process."""
    while True:
        with path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Some versions of filelock remove the file that they unlock: it must be there still.
            if _is_at(path, lock.fileno()):
                yield
                return


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _main(run: Path) -> None:
    if os.fork():
        # The parent can wait for this process at any time; the other is init's child.
        return
    sys.stdin.read()
    try:
        lease = os.open(run / LEASE, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        with contextlib.suppress(FileNotFoundError), _locked(run.parent / LOCK):
            if not (run / LEASE).exists():
                finish(run)
        return
    while True:
        os.set_blocking(lease, True)
        while os.read(lease, 4096):
            pass
        # Nobody can take up the lease again while the lock is held: a reused daemon's.
        with _locked(run.parent / LOCK):
            # Without a lease the run was removed, or who was removing it was killed amid that.
            if (run / LEASE).exists() and not _is_at(run / LEASE, lease):
                # Others have made it anew: what is there now is none of this process's.
                return
            os.set_blocking(lease, False)
            try:
                os.read(lease, 1)
            except BlockingIOError:
                continue
            late = finish(run)
        remove_late(run, late)
        return


def remove_late(run: Path, late: list[tuple[str, str]]) -> None:
    """Remove containers that the engine was still making when their run ended.

    Args:
        run: The run's directory.
        late: What `finish` gave.
    """
    deadline = time.monotonic() + _LATE_SECONDS
    while late and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        with _locked(run.parent / LOCK):
            if run.exists():
                # Another run of the same reused daemon has begun, and deals with them.
                return
            late = [(engine, name) for engine, name in late if not _remove_container(engine, name)]


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
