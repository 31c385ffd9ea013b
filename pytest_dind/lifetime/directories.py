"""The directories of a run: short enough for a unix socket, private, on the engine's machine."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import SettingsError
from .reaper import LOCK
from .reaper import SOCKET as SOCKET

ROOT = "root"
"""In a run's directory: the project's root directory."""

# sun_path has 108 bytes on Linux and 104 on macOS, the closing NUL included (unix(7)).
_SOCKET_PATH_LIMIT = 103
_LOCK_POLL_SECONDS = 0.01
# What all runs of a user wait for each other takes well below a second, unless one is stopped.
_PATIENCE_SECONDS = 60
_REUSE = "reuse-"
# Of the digest that is the last part of a reused daemon's directory.
_DIGITS = 8
_LONGEST_HOME = "reuse-0123456789012345678901-0123abcd/main"


def base() -> Path:
    """This user's directory for all runs, mode 0700, made when it is missing.

    It lies in the temp dir, or in /tmp where the temp dir's path is too long for a socket.

    Raises:
        SettingsError: no temp dir is short enough, or the place is somebody else's.
    """
    name = f"pytest-dind-{os.getuid()}"
    return _private(temp(f"{name}/{_LONGEST_HOME}/{SOCKET}") / name)


def temp(longest: str) -> Path:
    """The temp dir; /tmp or /var/tmp where its path is too long for a socket of this name in it.

    Raises:
        SettingsError: none is short enough.
    """
    with explained(Path(os.environ.get("TMPDIR", "/tmp"))):
        # No room for a file in any temp dir is an OSError too.
        candidates = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
    for parent in map(Path.resolve, candidates):
        if len(os.fsencode(parent / longest)) <= _SOCKET_PATH_LIMIT:
            return parent
    raise SettingsError(
        "No temp dir is short enough for the daemon's socket.",
        evidence=f"Tried {', '.join(map(str, candidates))}; a unix socket's path has at most "
        f"{_SOCKET_PATH_LIMIT} bytes.",
        remedy=["Set TMPDIR to a short path, such as /tmp."],
    )


def _private(path: Path) -> Path:
    found = make(path).lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SettingsError(
            f"{path} cannot hold daemon sockets: it must be a directory that only this user "
            "can enter.",
            evidence=f"Owner uid {found.st_uid}, mode {stat.filemode(found.st_mode)}; "
            f"this user is uid {os.getuid()}.",
            remedy=["Remove it, if it is yours.", "Set TMPDIR to a directory of your own."],
        )
    return path


def make(path: Path) -> Path:
    """Make a directory that only this user can enter, if there is none.

    Raises:
        SettingsError: it can't be made: no room, or no right.
    """
    with explained(path):
        path.mkdir(mode=0o700, exist_ok=True)
    return path


def remove(path: Path) -> None:
    """Remove a directory with all that is in it; missing is fine."""
    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def locked(path: Path, name: str = Path(LOCK).stem) -> Iterator[None]:
    """Hold the lock of this name in a directory; waits for whoever holds it.

    The kernel lets go of it when its holder dies.

    Raises:
        SettingsError: the lock file can't be written, or the lock that all runs of a user share is
            not to be had, since a process that is stopped holds it.
    """
    file = path / f"{name}.lock"
    # The others are held while images are pulled and a daemon starts, each of which has a bound of
    # its own.
    patience = _PATIENCE_SECONDS if file.name == LOCK else -1
    lock = FileLock(file)
    with explained(file):
        try:
            lock.acquire(patience, _LOCK_POLL_SECONDS)
        except Timeout as error:
            raise _held_too_long(file, _holder(file)) from error
    try:
        yield
    finally:
        lock.release()


def reused(base: Path, name: str, digest: str) -> Path:
    """The directory of the daemon that is reused under a name, with what this is a digest of."""
    return base / f"{_REUSE}{name}-{digest[:_DIGITS]}"


def reuse_name(run: Path) -> str:
    """The name under which the daemon in a directory is reused; empty where it is not."""
    name, _, digest = run.name.removeprefix(_REUSE).rpartition("-")
    return name if run.name.startswith(_REUSE) and len(digest) == _DIGITS else ""


def all_reused(base: Path, name: str) -> list[Path]:
    """The directories of all daemons that are reused under a name."""
    return [path for path in base.iterdir() if path.is_dir() and reuse_name(path) == name]


def reuse_lock(name: str) -> str:
    """The name of the lock that is held while a daemon of this name is taken up."""
    return f"{_REUSE}{name}"


def forget_locks(base: Path) -> None:
    """Remove the lock files of names under which no daemon is reused any more."""
    for file in base.glob(f"{_REUSE}*.lock"):
        # One that is held is of a daemon that is to be; an OSError: somebody else removes it.
        with suppress(Timeout, OSError), FileLock(file, timeout=0):
            if not all_reused(base, file.stem.removeprefix(_REUSE)):
                file.unlink(missing_ok=True)


def _held_too_long(file: Path, holder: str) -> SettingsError:
    who = f"process {holder}" if holder else "a process"
    return SettingsError(
        f"{file}, the lock of all runs of this user, is not to be had.",
        evidence=f"It is held by {who}, for more than {_PATIENCE_SECONDS} s.",
        remedy=[
            f"Look whether it is stopped, and continue or end it: ps -o pid,stat,args "
            f"{holder or '-A'}.",
            "Set TMPDIR to another directory.",
        ],
    )


def _holder(file: Path) -> str:
    """The id of the process that holds a lock; empty where the kernel doesn't tell (proc(5))."""
    with suppress(OSError):
        inode = str(file.stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            found = line.split()
            if found[1] == "FLOCK" and found[5].rpartition(":")[2] == inode:
                return found[4]
    return ""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Tell an error of the file system as what it means for `path`.

    Raises:
        SettingsError: for an OSError.
    """
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"{path}, which daemons of this user need, cannot be written.",
            evidence=str(error),
            remedy=["Make room or give write access there.", "Set TMPDIR to another directory."],
        ) from error
