"""The directories of runs: private, and with paths short enough for a unix socket."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import SettingsError
from . import layout

# sun_path has 108 bytes on Linux and 104 on macOS, the closing NUL included (unix(7)).
_SOCKET_PATH_LIMIT = 103
_LOCK_POLL_SECONDS = 0.01
# A run holds the lock that all runs of a user share for well below a second, unless it is stopped.
_PATIENCE_SECONDS = 60
_REUSE = "reuse-"
# Characters of the digest at the end of the name of a reused daemon's directory.
_DIGITS = 8
_BASE = re.compile(r"pytest-dind-\d+")
_LONGEST_HOME = "reuse-0123456789012345678901-0123abcd/swarm-node100"


def base() -> Path:
    """This user's directory for all runs, mode 0700; it is made when it is missing.

    It lies in the temp dir, or in /tmp where the temp dir's path is too long for a socket.

    Raises:
        SettingsError: no temp dir is short enough, or another user owns the directory.
    """
    name = f"pytest-dind-{os.getuid()}"
    return _private(temp(f"{name}/{_LONGEST_HOME}/{layout.SOCKET}") / name)


def all_bases() -> list[Path]:
    """The directories of all users' runs that are there, in whichever temp dir.

    Symbolic links are resolved. A temp dir that is only in another process's environment is not
    known here.
    """
    found = {base()}
    for parent in _temp_dirs():
        # Who may not read a directory sees no names in it.
        with suppress(OSError), os.scandir(parent) as entries:
            found |= {
                Path(entry.path)
                for entry in entries
                if _BASE.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            }
    return sorted(found)


def _temp_dirs() -> list[Path]:
    """The directories, with links resolved, in which there may be one for runs."""
    paths = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
    return list(dict.fromkeys(map(Path.resolve, paths)))


def temp(longest: str) -> Path:
    """The temp dir, or /tmp or /var/tmp where the path of a socket in it would be too long.

    Args:
        longest: The longest path of a socket below it.

    Raises:
        SettingsError: none is short enough.
    """
    with explained(Path(os.environ.get("TMPDIR", "/tmp"))):
        # No room for a file in any temp dir is an OSError too.
        candidates = _temp_dirs()
    for parent in candidates:
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
        SettingsError: the file system has no room, or this user no right to.
    """
    with explained(path):
        path.mkdir(mode=0o700, exist_ok=True)
    return path


def remove(path: Path) -> None:
    """Remove a directory with its contents; a missing one is fine."""
    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def locked(path: Path, name: str = Path(layout.LOCK).stem) -> Iterator[None]:
    """Hold the lock of this name in a directory; waits while another process holds it.

    The kernel releases the lock when the process that holds it dies.

    Raises:
        SettingsError: the lock file can't be written, or another process, one that is stopped as a
            rule, holds the lock that all runs of a user share for too long.
    """
    file = path / f"{name}.lock"
    # The others are held while images are pulled and a daemon starts, each of which has a bound of
    # its own.
    patience = _PATIENCE_SECONDS if file.name == layout.LOCK else -1
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


def slot(path: Path, name: str, count: int) -> FileLock | None:
    """Take one of so many locks in a directory, if one is free; the caller releases it.

    Where the directory is gone, as a run's is that has ended, nobody is to be waited for.
    """
    for number in range(count):
        lock = FileLock(path / f"{name}-{number}.lock")
        with suppress(Timeout, OSError):
            lock.acquire(0)
            return lock
    return None


def reused(base: Path, name: str, digest: str) -> Path:
    """The directory of the daemon that is reused under a name.

    Args:
        base: The directory of all runs.
        name: The name.
        digest: Of the settings that the daemon is made with.
    """
    return base / f"{_REUSE}{name}-{digest[:_DIGITS]}"


def reuse_name(run: Path) -> str:
    """The name under which the daemon in a run's directory is reused; empty for other runs."""
    name, _, digest = run.name.removeprefix(_REUSE).rpartition("-")
    return name if run.name.startswith(_REUSE) and len(digest) == _DIGITS else ""


def all_reused(base: Path, name: str) -> list[Path]:
    """The directories of all daemons that are reused under a name."""
    return [path for path in base.iterdir() if path.is_dir() and reuse_name(path) == name]


def reuse_lock(name: str, daemon: str) -> str:
    """The name of the lock on a reused daemon, held while a run takes it up.

    Args:
        name: The name under which it is reused.
        daemon: The daemon's own, by which it is told from others that are reused under that name.
    """
    return f"{_REUSE}{name}.{daemon}"


def forget_locks(base: Path) -> None:
    """Remove the lock files of names under which no daemon is reused any more."""
    for file in base.glob(f"{_REUSE}*.lock"):
        # Held: a run is about to start that daemon. An OSError: another process removes the file.
        with suppress(Timeout, OSError), FileLock(file, timeout=0):
            if not all_reused(base, file.stem.removeprefix(_REUSE).partition(".")[0]):
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
    """Turn an error of the file system into one that says what it means for `path`.

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
