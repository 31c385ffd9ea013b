"""The reaper: a process for each run that removes what is left once the run's processes are gone.

Daemons end with their lease by themselves. The reaper removes the run's directory, its network,
and a container that was created but not started yet. It imports the standard library alone, so
that its start costs next to nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from . import layout, light, unix_http
from .layout import Home

PODMAN_ONLY = "/libpod/_ping"
"""What Podman's service alone answers; `/version`, which tells it too, takes Docker's 10 ms."""

_ENGINE_SECONDS = 30
# A daemon that hangs is not waited for, since it is to go.
_THAW_SECONDS = 1
# A container that the engine makes later than that is left to the next run's sweep.
_LATE_SECONDS = 3
_POLL_SECONDS = 0.05


@contextlib.contextmanager
def watching(run: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the reaper of a run; the run's directory is to be made in this context.

    The reaper is there before the directory is, so that a kill at any moment leaves none. The
    process that is yielded ends at once; wait for it.
    """
    process = subprocess.Popen(
        light.command(__name__, str(run)),
        # Its end tells the reaper that the run is made, or that the process making it is gone.
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
    """Remove a run that has no users any more, except for daemons that are kept on purpose.

    The run's network stays with these.

    Returns:
        The containers that are not there, but may be soon, each after its engine's URL: the
        process that asked for it is gone, but the engine finishes such a request all the same.
    """
    late = remove_daemons(run)
    kept = any(run.glob(f"*/{layout.KEPT}"))
    for engine in [] if kept else _read(run / layout.NETWORK).splitlines():
        _remove_network(engine, layout.network_name(run))
    if not kept and not any(run.glob(f"*/{layout.GUARD}")):
        shutil.rmtree(run, ignore_errors=True)
    return late


def remove_daemons(run: Path) -> list[tuple[str, str]]:
    """Remove the containers of a run, and no more; see `finish`."""
    late = []
    for home in [Home(path) for path in run.iterdir() if path.is_dir()] if run.is_dir() else []:
        path = home.path
        # A guard removes what its tests made, and then its home; for one that was killed, the
        # sweep does.
        if not (path / layout.KEPT).exists() and not (path / layout.GUARD).exists():
            engine = engine_of(path)
            thaw(path)
            if (path / layout.STATE).exists():
                _remove_container(engine, home.label)
            elif not _remove_unfinished(engine, home.label):
                late.append((engine, home.label))
            shutil.rmtree(path, ignore_errors=True)
    return late


def engine_of(home: Path) -> str:
    """The URL of the engine that a daemon is on; empty where no engine was asked for it yet."""
    return _read(home / layout.ENGINE)


def _read(note: Path) -> str:
    """The content of a file; empty where there is none."""
    try:
        return note.read_text()
    except OSError:
        return ""


def _remove_container(engine: str, name: str) -> bool:
    """Remove a container with its volumes; gives whether it was there."""
    status, _ = _ask(engine, "GET", PODMAN_ONLY, _ENGINE_SECONDS)
    if status == http.HTTPStatus.OK:
        # Else Podman 5 gives it ten seconds to end by itself.
        _ask(engine, "POST", f"/containers/{quote(name)}/kill", _ENGINE_SECONDS)
    return _delete(engine, f"/containers/{quote(name)}?force=1&v=1")


def _remove_unfinished(engine: str, name: str) -> bool:
    """The same for one that the engine may be making still.

    Podman 4 then says that it has removed it, but half of it stays, and no list of containers can
    be had until that is removed too.
    """
    if not _remove_container(engine, name):
        return False
    deadline = time.monotonic() + _LATE_SECONDS
    while time.monotonic() < deadline and _remove_container(engine, name):
        time.sleep(_POLL_SECONDS)
    return True


def _remove_network(engine: str, name: str) -> None:
    """Remove a run's network, also where daemons of another run of the same tests are in it.

    These end too, just now: what leaves the network by itself may be in it for a moment still.
    """
    target = f"/networks/{quote(name)}"
    deadline = time.monotonic() + _LATE_SECONDS
    while not _delete(engine, target) and time.monotonic() < deadline:
        status, answer = _ask(engine, "GET", target, _ENGINE_SECONDS)
        if status != http.HTTPStatus.OK:
            return
        with contextlib.suppress(ValueError, TypeError, KeyError):
            for container in json.loads(answer)["Containers"]:
                out = json.dumps({"Container": container, "Force": True}).encode()
                _ask(engine, "POST", f"{target}/disconnect", _ENGINE_SECONDS, out)
        time.sleep(_POLL_SECONDS)


def _delete(engine: str, target: str) -> bool:
    """Delete an object on an engine; gives whether it was there."""
    status, _ = _ask(engine, "DELETE", target, _ENGINE_SECONDS)
    # A conflict: the engine is removing it already.
    return status in (http.HTTPStatus.NO_CONTENT, http.HTTPStatus.CONFLICT)


def thaw(home: Path) -> None:
    """Unpause all containers in a daemon that is about to end.

    With cgroup v1 a frozen process can't be killed, and so neither can the container around it.
    """
    daemon = f"{unix_http.SCHEME}{home / layout.SOCKET}"
    filters = quote(json.dumps({"status": ["paused"]}))
    _, answer = _ask(daemon, "GET", f"/containers/json?filters={filters}", _THAW_SECONDS)
    with contextlib.suppress(ValueError, TypeError, KeyError):
        for paused in json.loads(answer):
            _ask(daemon, "POST", f"/containers/{paused['Id']}/unpause", _THAW_SECONDS)


def _ask(
    engine: str, method: str, target: str, seconds: float, body: bytes | None = None
) -> tuple[int, bytes]:
    """Ask an engine; gives its status and answer, and status 0 where it gives none.

    An engine that has no unix socket is not asked.
    """
    if not engine.startswith(unix_http.SCHEME):
        return 0, b""
    try:
        return unix_http.request(
            engine.removeprefix(unix_http.SCHEME), method, target, timeout=seconds, body=body
        )
    except (OSError, http.client.HTTPException):
        # The engine is gone, or no longer answers: the next run's sweep tries again.
        return 0, b""


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


def main(directory: str) -> None:
    """Wait in the background for the end of a run's last user, and remove the run.

    Args:
        directory: The run's directory.
    """
    run = Path(directory)
    if os.fork():
        # The parent can wait for this process at any time; the other is init's child.
        return
    sys.stdin.read()
    try:
        lease = os.open(run / layout.LEASE, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        with contextlib.suppress(FileNotFoundError), _locked(run.parent / layout.LOCK):
            if not (run / layout.LEASE).exists():
                finish(run)
        return
    while True:
        os.set_blocking(lease, True)
        while os.read(lease, 4096):
            pass
        # Nobody can take up the lease again while the lock is held: a reused daemon's.
        with _locked(run.parent / layout.LOCK):
            # Without a lease the run was removed, or the process removing it was killed amid that.
            if (run / layout.LEASE).exists() and not _is_at(run / layout.LEASE, lease):
                # Another run has made the directory anew; it has a reaper of its own.
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
        late: As `finish` returned them.
    """
    deadline = time.monotonic() + _LATE_SECONDS
    while late and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        with _locked(run.parent / layout.LOCK):
            if run.exists():
                # Another run of the same reused daemon has begun, and removes them.
                return
            late = [one for one in late if not _remove_unfinished(*one)]
